#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>

#include "vrpc/handshake.h"
#include "vrpc/ring.h"
#include "vrpc/server_impl.h"

namespace prism::vrpc {

// One ring costs one look, whatever it is rung for; and a channel has only so many looks a second.
// Until the next, its doorbell is not watched, and a Hello waits.
void Server::Impl::OnHelloBell(Connection& connection, uint32_t lane) {
  const Channel& channel = *connection.channel;
  TryClear(channel.doorbell(channel.geometry().handshake_vector(lane)));
  connection.slots[lane].hello_due = true;
  TryHandshake(connection, lane);
  RearmHelloBell(connection, lane);
}

void Server::Impl::RearmHelloBell(Connection& connection, uint32_t lane) {
  const Channel& channel = *connection.channel;
  const uint64_t token = TokenOf(connection.id, lane);
  if (!connection.hellos.Take(std::chrono::steady_clock::now()))
    return SetTimer(connection.hellos.next(), token);
  Rewatch(channel.doorbell(channel.geometry().handshake_vector(lane)), token,
          EPOLLIN | EPOLLONESHOT);
}

void Server::Impl::TryHandshake(Connection& connection, uint32_t lane) {
  Slot& slot = connection.slots[lane];
  const LaneMemory memory = connection.channel->lane(lane);
  uint32_t seq = Shared(memory.control()->hello_seq).load(std::memory_order_seq_cst);
  if (seq == slot.seen_seq) {
    slot.hello_due = false;
    return;
  }
  if (slot.session != 0) {  // comes back when it has gone
    if (!slot.ending) EndSession(connection, lane);
    return;
  }
  slot.seen_seq = seq;
  slot.hello_due = false;
  Hello hello = FetchHello(memory);
  if (hello.magic == kHelloMagic && hello.epoch != slot.epoch) {
    // It will be said again; also where the client has written over the epoch.
    PutEpoch(memory, slot.epoch);
    return connection.channel->RingClient(memory.geometry().handshake_vector(lane));
  }
  Outcome<Answer> answer = OpenSession(connection, lane, hello);
  if (!answer) {
    Log(*connection.port, spdlog::level::info,
        fmt::format("port '{}' refuses a session to pid {}: {}", connection.port->options.name,
                    connection.peer.pid, answer.error().message));
    answer = Refusal(answer.error(), slot.epoch);
  }
  PutAnswer(memory, seq, *answer);
  connection.channel->RingClient(memory.geometry().handshake_vector(lane));
}

Outcome<Answer> Server::Impl::OpenSession(Connection& connection, uint32_t lane,
                                          const Hello& hello) {
  PRISM_TRY(CheckHello(hello));
  Slot& slot = connection.slots[lane];
  const LaneMemory memory = connection.channel->lane(lane);
  Answer answer{};
  answer.magic = kAnswerMagic;
  answer.version = kVersion;
  answer.epoch = slot.epoch;
  answer.durability_epoch = options_.durability_epoch;
  if ((hello.flags & kHelloBye) != 0) return answer;

  const PortOptions& port = connection.port->options;
  Lane::Origin origin{.session = next_session_++,
                      .volume = std::string(hello.volume, hello.volume_bytes),
                      .importing = (hello.flags & kHelloImporting) != 0,
                      .barriers = (hello.flags & kHelloBarriers) != 0,
                      .client = hello.client,
                      .who = fmt::format("lane {} (port '{}', pid {})", slot.info.id, port.name,
                                         connection.peer.pid)};
  PRISM_ASSIGN(std::shared_ptr<fs::FileSystem> fs,
               port.opener({.volume = origin.volume,
                            .importing = origin.importing,
                            .resume = (hello.flags & kHelloResume) != 0,
                            .snapshots = (hello.flags & kHelloSnapshots) != 0,
                            .client = hello.client}));
  answer.session = origin.session;
  answer.queues = memory.geometry().queues;
  if (hello.queues != 0) answer.queues = std::min(answer.queues, hello.queues);
  Log(*connection.port, spdlog::level::info,
      fmt::format("{}: volume '{}'", origin.who, origin.volume));
  ResetRings(memory);
  slot.session = origin.session;
  slot.ending = false;
  auto made = std::make_shared<Lane>(std::move(origin), connection.channel, lane, answer.queues,
                                     std::move(fs), uint64_t{options_.spin_us_max} * 1000,
                                     NoticesFor(connection, lane, answer.session));
  {
    std::lock_guard lock(table_mutex_);
    slot.listed = true;
    ++slot.info.sessions;
    slot.lane = made;
  }
  Outcome<void> added = pool_->Add(std::move(made));
  slot.ending = !added;
  PRISM_TRY(added);
  return answer;
}

// The notices go through the inbox, because any thread may be the one that lets go last.
Lane::Notices Server::Impl::NoticesFor(const Connection& connection, uint32_t lane,
                                       uint64_t session) {
  auto failed = [this, inbox = inbox_, id = connection.id, lane, session](std::string reason) {
    inbox->Post([this, id, lane, session, reason = std::move(reason)] {
      auto found = connections_.find(id);
      if (found == connections_.end()) return;
      const Slot& slot = found->second.slots[lane];
      if (slot.session == session && !slot.ending) DropSession(found->second, lane, reason);
    });
  };
  auto gone = [this, inbox = inbox_, id = connection.id, lane, session] {
    inbox->Post([this, id, lane, session] { OnSessionGone(id, lane, session); });
  };
  return {.failed = std::move(failed), .gone = std::move(gone)};
}

// Nothing more is served. A worker that is inside finishes its request, and the session is gone
// when nobody is.
void Server::Impl::EndSession(Connection& connection, uint32_t lane,
                              const std::string& dropped_for) {
  Slot& slot = connection.slots[lane];
  slot.ending = true;
  std::shared_ptr<Lane> ended = pool_->Remove(slot.session);
  if (ended == nullptr) return;
  ended->Close();
  const Lane::Origin& origin = ended->origin();
  if (dropped_for.empty())
    Log(*connection.port, spdlog::level::info,
        fmt::format("{} ends: volume '{}'", origin.who, origin.volume));
  else
    Log(*connection.port, spdlog::level::warn,
        fmt::format("{} (volume '{}') is dropped: {}", origin.who, origin.volume, dropped_for));
  std::lock_guard lock(table_mutex_);
  slot.lane.reset();
  ended->Describe(slot.info);
}

void Server::Impl::DropSession(Connection& connection, uint32_t lane, const std::string& reason) {
  EndSession(connection, lane, reason);
  NewEpoch(connection, lane);
  std::lock_guard lock(table_mutex_);
  LaneInfo& info = connection.slots[lane].info;
  ++info.drops;
  info.drop_reason = reason;
}

// Tells the client that its session is over.
void Server::Impl::NewEpoch(Connection& connection, uint32_t lane) {
  Slot& slot = connection.slots[lane];
  slot.epoch = RandomNumber();
  PutEpoch(connection.channel->lane(lane), slot.epoch);
  connection.channel->RingAll(lane);
}

void Server::Impl::OnSessionGone(uint64_t connection_id, uint32_t lane, uint64_t session) {
  auto found = connections_.find(connection_id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  Slot& slot = connection.slots[lane];
  if (slot.session != session) return;
  slot.session = 0;
  slot.ending = false;
  connection.idle_since = std::chrono::steady_clock::now();
  if (!connection.port->options.single)
    SetTimer(connection.idle_since + std::chrono::milliseconds(options_.hello_timeout_ms),
             TokenOf(connection.id, kSocketPart));
  if (slot.hello_due) TryHandshake(connection, lane);
}

}  // namespace prism::vrpc
