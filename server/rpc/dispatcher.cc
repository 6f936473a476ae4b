#include "server/rpc/dispatcher.h"

#include <xxhash.h>

#include <algorithm>

#include "fs/base/check.h"
#include "server/rpc/message.h"

namespace prism::rpc {
namespace {

// A worker is left for the calls that cannot block, and one that waits for durability.
uint32_t BlockingMax(uint32_t workers) { return workers > 3 ? workers - 2 : 1; }
uint32_t ClientBlockingMax(uint32_t workers) { return std::max(1u, workers / 2); }

constexpr uint32_t kNullProcedure = 0;
constexpr size_t kResultsReserveBytes = 256;

CallId IdOf(const PeerAddress& peer, uint32_t xid, std::span<const std::byte> record) {
  return {.client = XXH3_64bits(peer.ip.data(), peer.ip.size()),
          .xid = xid,
          .checksum = static_cast<uint32_t>(XXH3_64bits(record.data(), record.size()))};
}

std::shared_ptr<const std::vector<std::byte>> Flatten(const OutMessage& message) {
  auto bytes = std::make_shared<std::vector<std::byte>>();
  bytes->reserve(message.size_bytes());
  auto append = [&](std::span<const std::byte> part) {
    bytes->insert(bytes->end(), part.begin(), part.end());
  };
  append(message.header.bytes());
  append(message.results);
  for (const KeptBytes& part : message.payload) append(part.bytes);
  bytes->resize(message.size_bytes());  // the padding is zero
  return bytes;
}

}  // namespace

Dispatcher::Dispatcher(const RpcOptions& options, Counters& counters, Seats& seats)
    : has_durability_(options.wait_durable != nullptr),
      counters_(counters),
      seats_(seats),
      reply_cache_(options.reply_cache),
      gate_(BlockingMax(options.workers), ClientBlockingMax(options.workers)),
      durable_(
          options.wait_durable,
          [this](std::vector<PendingReply>& replies, Status status) {
            DeliverDurable(replies, status);
          },
          counters) {
  for (const std::shared_ptr<Program>& program : options.programs) {
    Service& service = services_.emplace_back(program);
    for (const Procedure& procedure : program->procedures())
      service.paces.emplace_back(/*slow=*/procedure.may_block);
  }
}

Dispatcher::Served Dispatcher::Serve(Seat& seat, const std::shared_ptr<Connection>& connection) {
  const bool granted = connection->TakeGrant();
  RecordReader& input = connection->input();
  CallHeader call;
  Served served = Served::kBroken;
  Target target;
  ReplyHeader error;
  if (DecodeCall(input.record(), call)) {
    counters_.calls.Add();
    if (call.rpc_version != kRpcVersion)
      served = Answer(*connection, ReplyHeader::RpcMismatch(call.xid));
    else if (call.auth != AuthStat::kOk)
      served = Answer(*connection, ReplyHeader::AuthError(call.xid, call.auth));
    else if (!Locate(call, target, error))
      served = Answer(*connection, error);
    else
      return ServeCall(seat, connection, call, target, granted);
  }
  if (granted) gate_.Leave(*connection->client());
  return served;
}

bool Dispatcher::Locate(const CallHeader& call, Target& target, ReplyHeader& error) {
  uint32_t low = UINT32_MAX;
  uint32_t high = 0;
  Service* found = nullptr;
  for (Service& service : services_) {
    const Program& program = *service.program;
    if (program.number() != call.program) continue;
    low = std::min(low, program.version());
    high = std::max(high, program.version());
    if (program.version() == call.version) found = &service;
  }
  if (found == nullptr) {
    error = low <= high ? ReplyHeader::ProgramMismatch(call.xid, low, high)
                        : ReplyHeader::Accepted(call.xid, AcceptStat::kProgramUnavailable, 0);
    return false;
  }
  target.program = found->program.get();
  if (call.procedure == kNullProcedure) return true;
  const std::span<const Procedure> procedures = target.program->procedures();
  if (call.procedure >= procedures.size() || procedures[call.procedure].name.empty()) {
    error = ReplyHeader::Accepted(call.xid, AcceptStat::kProcedureUnavailable, 0);
    return false;
  }
  target.procedure = &procedures[call.procedure];
  target.pace = &found->paces[call.procedure];
  return true;
}

Dispatcher::Served Dispatcher::Answer(Connection& connection, const ReplyHeader& header) {
  counters_.errors.Add();
  OutMessage message;
  message.header = header;
  connection.Queue(std::move(message));
  connection.input().Pop();
  return Served::kDone;
}

Dispatcher::Served Dispatcher::ServeCall(Seat& seat, const std::shared_ptr<Connection>& connection,
                                         const CallHeader& call, const Target& target,
                                         bool granted) {
  RecordReader& input = connection->input();
  Client& client = *connection->client();
  Job job{.connection = connection,
          .program = target.program,
          .procedure = call.procedure,
          .pace = target.pace,
          .replay_guarded = target.procedure != nullptr && target.procedure->replay_guarded,
          .id = {.xid = call.xid}};
  bool done = true;
  if (target.procedure == nullptr) {
    OutMessage message;
    message.header = ReplyHeader::Accepted(call.xid, AcceptStat::kSuccess, 0);
    connection->Queue(std::move(message));
  } else {
    if (job.replay_guarded) job.id = IdOf(connection->peer(), call.xid, input.record());
    if (input.truncated() || client.overloaded()) {
      // The answer of an earlier execution comes before any refusal: after that the client would
      // send the call anew.
      if (!job.replay_guarded || !Replayed(job, reply_cache_.Look(job.id, connection))) Refuse(job);
    } else if (target.procedure->may_block) {
      if (!granted && !gate_.TryEnter(client)) {
        counters_.parked.Add();
        connection->Flush();
        connection->Park();
        if (!gate_.EnterOrWait(connection)) return Served::kReleased;
        connection->Unpark();
      }
      return RunReleased(seat, job, call);
    } else {
      done = false;
    }
  }
  if (granted) gate_.Leave(client);
  const bool lead = !done && Run(seat, job, call.credentials, call.args);
  input.Pop();
  if (!lead) return Served::kDone;
  connection->Flush();
  connection->Release(input.Pending());
  Lead(seat);
  return Served::kReleased;
}

// The caller is in the gate. Others go on with the connection meanwhile.
Dispatcher::Served Dispatcher::RunReleased(Seat& seat, const Job& job, const CallHeader& call) {
  thread_local RecordBuffer scratch;
  Connection& connection = *job.connection;
  RecordReader& input = connection.input();
  const size_t args_offset = static_cast<size_t>(call.args.data() - input.record().data());
  const std::span<const std::byte> record = input.Take(scratch);
  // Decoded again: the credentials point into the record, which has moved.
  CallHeader moved;
  PRISM_CHECK(DecodeCall(record, moved) && moved.args.data() == record.data() + args_offset);
  connection.Flush();
  connection.Release(input.Pending());
  const bool lead = Run(seat, job, moved.credentials, moved.args);
  gate_.Leave(*connection.client());
  if (!lead) connection.Flush();
  if (scratch.capacity() > RecordBuffer::kFreeBytes) scratch = RecordBuffer();
  if (lead) Lead(seat);
  return Served::kReleased;
}

void Dispatcher::Lead(Seat& seat) {
  seats_.Leave(seat);
  durable_.Lead();
}

bool Dispatcher::Replayed(const Job& job, const ReplyCache::Found& found) {
  if (found.state == ReplyCache::State::kNew) return false;
  if (found.state == ReplyCache::State::kRunning) {
    counters_.replays_dropped.Add();
    return true;
  }
  counters_.replays.Add();
  OutMessage message;
  message.kept = found.reply;
  const uint64_t bytes = message.size_bytes();
  job.connection->client()->Charge(bytes);
  message.charge = Charge(job.connection->client(), bytes);
  job.connection->Queue(std::move(message));
  return true;
}

void Dispatcher::Refuse(const Job& job) {
  counters_.refused.Add();
  OutMessage message;
  if (EncodeRefusal(job, Err::kAgain, message)) job.connection->Queue(std::move(message));
}

bool Dispatcher::EncodeRefusal(const Job& job, Err why, OutMessage& message) {
  Reply reply(message.results);
  job.program->Refuse(job.procedure, why, reply);
  if (reply.dropped()) return false;
  const bool empty = message.results.empty() && reply.payload().empty();
  Encode(job, empty ? AcceptStat::kSystemError : AcceptStat::kSuccess, reply, message);
  return true;
}

bool Dispatcher::Run(Seat& seat, const Job& job, const Credentials& credentials,
                     std::span<const std::byte> args) {
  if (job.replay_guarded && Replayed(job, reply_cache_.Begin(job.id, job.connection))) return false;
  job.connection->calls().fetch_add(1, std::memory_order_relaxed);
  OutMessage message;
  message.results.reserve(kResultsReserveBytes);
  Reply reply(message.results);
  const Call call{
      .id = job.id, .peer = job.connection->peer(), .credentials = credentials, .args = args};
  if (job.pace->slow()) seats_.Leave(seat);
  seat.Begin(job.pace);
  const uint64_t start_ns = Pace::NowNs();
  job.program->Run(job.procedure, call, reply);
  job.pace->Learn(Pace::NowNs() - start_ns);

  if (reply.dropped()) {
    End(job, nullptr);
    return false;
  }
  if (reply.garbage_args()) {
    Encode(job, AcceptStat::kGarbageArgs, reply, message);
    Deliver(job, std::move(message), /*keep=*/false);
    return false;
  }
  Encode(job, AcceptStat::kSuccess, reply, message);
  if (reply.durable_mark() != 0 && has_durability_)
    return durable_.Add({job, std::move(message), reply.durable_mark()});
  Deliver(job, std::move(message), /*keep=*/true);
  return false;
}

void Dispatcher::Encode(const Job& job, AcceptStat stat, Reply& reply, OutMessage& message) {
  if (stat == AcceptStat::kSuccess) {
    message.payload = std::move(reply.payload());
  } else {
    counters_.errors.Add();
    message.results.clear();
  }
  message.header = ReplyHeader::Accepted(
      job.id.xid, stat, message.results.size() + XdrPadded(message.payload_bytes()));
  const uint64_t bytes = message.size_bytes();
  job.connection->client()->Charge(bytes);
  message.charge = Charge(job.connection->client(), bytes);
}

std::shared_ptr<Connection> Dispatcher::End(const Job& job, ReplyCache::Bytes reply) {
  std::shared_ptr<Connection> target = job.connection;
  if (job.replay_guarded) {
    // Its client has given up what is older.
    std::shared_ptr<Connection> newest = reply_cache_.Finish(job.id, std::move(reply));
    if (newest != nullptr && !newest->closed() && (target->closed() || newest->id() > target->id()))
      target = std::move(newest);
  }
  job.connection->calls().fetch_sub(1, std::memory_order_relaxed);
  return target;
}

// Leaves it to the caller to flush the job's own connection.
void Dispatcher::Deliver(const Job& job, OutMessage message, bool keep) {
  ReplyCache::Bytes kept;
  if (keep && job.replay_guarded) kept = Flatten(message);
  const std::shared_ptr<Connection> target = End(job, std::move(kept));
  target->Queue(std::move(message));
  if (target != job.connection) target->Flush();
}

void Dispatcher::DeliverDurable(std::vector<PendingReply>& replies, Status status) {
  for (PendingReply& reply : replies) {
    if (!status) {
      reply.message = OutMessage();
      if (!EncodeRefusal(reply.job, Err::kIo, reply.message)) {
        End(reply.job, nullptr);
        continue;
      }
    }
    Deliver(reply.job, std::move(reply.message), /*keep=*/true);
  }
  // Afterwards, so that several replies to one connection go together.
  for (const PendingReply& reply : replies) reply.job.connection->Flush();
}

void Dispatcher::Forget(const Connection& connection, bool granted) {
  gate_.Forget(connection);
  if (granted) gate_.Leave(*connection.client());
}

}  // namespace prism::rpc
