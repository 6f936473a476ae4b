#include "vrpc/lane.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <ctime>

#include "fs/base/check.h"

namespace prism::vrpc {
namespace {

constexpr size_t kUntoldMax = 65536;         // beyond, orphans are released by disconnecting
constexpr uint32_t kShortGapNs = 5000;       // a request this soon should have been polled for
constexpr size_t kScratchKept = 256 * 1024;  // bytes a worker keeps between requests

// The peer's header and groups; the rest of the message is the operation's.
bool ParseHeader(std::string_view message, RequestHeader& header, Workspace& workspace,
                 std::string_view& body) {
  std::memcpy(&header, message.data(), sizeof header);
  message.remove_prefix(sizeof header);
  if (header.groups > fs::kGroupsMax || header.check_permission > 1 || header.reserved[0] != 0 ||
      header.reserved[1] != 0 || header.reserved[2] != 0 || header.reserved2 != 0)
    return false;
  size_t groups_bytes = header.groups * sizeof(uint32_t);
  if (message.size() < groups_bytes) return false;
  std::memcpy(workspace.groups, message.data(), groups_bytes);
  body = message.substr(groups_bytes);
  return true;
}

}  // namespace

Lane::Lane(Origin origin, std::shared_ptr<Channel> channel, uint32_t index, uint32_t queues,
           std::shared_ptr<fs::FileSystem> fs, uint64_t spin_max_ns, Notices notices)
    : origin_(std::move(origin)),
      connected_sec_(std::time(nullptr)),
      channel_(std::move(channel)),
      index_(index),
      memory_(channel_->lane(index)),
      spin_max_ns_(spin_max_ns),
      notices_(std::move(notices)),
      fs_(std::move(fs)) {
  const Geometry& geometry = memory_.geometry();
  PRISM_CHECK(queues <= geometry.queues);
  for (uint32_t i = 0; i < queues; ++i) {
    QueueControl* control = memory_.queue(i);
    auto queue = std::make_unique<Queue>();
    queue->submissions = {&control->submission, memory_.submissions(i), geometry.ring_entries};
    queue->completions = {&control->completion, memory_.completions(i), geometry.ring_entries};
    queues_.push_back(std::move(queue));
  }
  events_ = {&memory_.event_control()->ring, memory_.event_slots(), geometry.events};
  fs_->SetListener(this);
}

Lane::~Lane() {
  fs_->SetListener(nullptr);
  fs_.reset();
  notices_.gone();
}

void Lane::Describe(LaneInfo& info) const {
  info.volume = origin_.volume;
  info.importing = origin_.importing;
  info.client = origin_.client;
  info.connected_sec = connected_sec_;
  info.queues = queues();
  info.waiting = 0;
  info.calls = info.errors = info.read_bytes = info.written_bytes = 0;
  uint32_t ring_entries = memory_.geometry().ring_entries;
  for (uint32_t i = 0; i < queues(); ++i) {
    const Queue& queue = *queues_[i];
    RingControl& ring = memory_.queue(i)->submission;
    info.waiting += std::min(Shared(ring.tail).load(std::memory_order_relaxed) -
                                 Shared(ring.head).load(std::memory_order_relaxed),
                             ring_entries);
    info.calls += queue.calls.load(std::memory_order_relaxed);
    info.errors += queue.errors.load(std::memory_order_relaxed);
    info.read_bytes += queue.read_bytes.load(std::memory_order_relaxed);
    info.written_bytes += queue.written_bytes.load(std::memory_order_relaxed);
  }
}

void Lane::Fail(const std::string& reason) {
  if (Close()) notices_.failed(reason);
}

bool Lane::CheckEntry(const SubmissionEntry& entry) {
  const Geometry& geometry = memory_.geometry();
  if (entry.slot >= geometry.slots) {
    Fail(fmt::format("slot {} of {}", entry.slot, geometry.slots));
  } else if (entry.message_bytes < sizeof(RequestHeader) ||
             entry.message_bytes > geometry.message_bytes) {
    Fail(fmt::format("a message of {} bytes", entry.message_bytes));
  } else if (entry.payload_bytes > geometry.payload_bytes) {
    Fail(fmt::format("a payload of {} bytes", entry.payload_bytes));
  } else {
    return true;
  }
  return false;
}

Lane::Served Lane::ServeNext(uint32_t index, Workspace& workspace) {
  if (dead()) return Served::kDead;
  Queue& queue = *queues_[index];
  SubmissionEntry entry;
  Look look = queue.submissions.Pop(entry);
  if (look == Look::kNothing) return Served::kNothing;
  if (look == Look::kBroken) {
    Fail("its submission ring claims more entries than it has");
    return Served::kDead;
  }
  if (!CheckEntry(entry)) return Served::kDead;
  LearnGap(queue, entry.gap_ns);
  uint64_t start_ns = NowNs();
  if (has_untold_.load(std::memory_order_relaxed)) TellUntold();

  std::span<std::byte> message = memory_.message(index, entry.slot);
  workspace.request.resize(entry.message_bytes);
  FetchOnce(workspace.request.data(), message.data(), entry.message_bytes);
  workspace.reply.assign(sizeof(ReplyHeader), '\0');
  workspace.scratch.clear();
  ServeContext context{.fs = *fs_,
                       .caller = {},
                       .request = {},
                       .body = {},
                       .payload = memory_.payload(index, entry.slot),
                       .payload_bytes = entry.payload_bytes,
                       .reply = workspace.reply,
                       .scratch = workspace.scratch};
  ReplyHeader header{};
  std::memcpy(&header.id, workspace.request.data(), sizeof header.id);
  uint16_t op = 0;
  Err error = Run(workspace, context, op);
  if (error != Err::kOk) {
    workspace.reply.resize(sizeof header);
    context.reply_payload_bytes = 0;
  }
  header.error = static_cast<uint8_t>(error);
  std::memcpy(workspace.reply.data(), &header, sizeof header);
  PRISM_CHECK(workspace.reply.size() <= message.size());
  std::memcpy(message.data(), workspace.reply.data(), workspace.reply.size());
  Count(queue, op, error, entry.payload_bytes, context.reply_payload_bytes);
  if (workspace.scratch.capacity() > kScratchKept) std::string().swap(workspace.scratch);

  uint64_t service_ns = NowNs() - start_ns;
  CompletionEntry completion{
      .slot = entry.slot,
      .message_bytes = static_cast<uint32_t>(workspace.reply.size()),
      .payload_bytes = context.reply_payload_bytes,
      .service_ns = static_cast<uint32_t>(std::min<uint64_t>(service_ns, UINT32_MAX))};
  return Reply(index, completion) ? Served::kRequest : Served::kDead;
}

Err Lane::Run(Workspace& workspace, ServeContext& context, uint16_t& op) {
  RequestHeader header;
  if (!ParseHeader(workspace.request, header, workspace, context.body)) return Err::kProtocol;
  op = header.op;
  const OperationRow* row = FindOperation(header.op);
  if (row == nullptr) return Err::kNotSupported;
  context.caller = {.uid = header.uid,
                    .gid = header.gid,
                    .groups = {workspace.groups, header.groups},
                    .check_permission = header.check_permission != 0};
  context.request = {.client = origin_.client, .number = header.number};
  if (header.number != 0) context.caller.request = &context.request;
  return row->serve(context);
}

bool Lane::Reply(uint32_t index, const CompletionEntry& completion) {
  Queue& queue = *queues_[index];
  // A full ring means more requests under way than the ring allows.
  if (queue.completions.Push(completion) != Look::kEntry) {
    Fail("it does not take its completions");
    return false;
  }
  queue.client_slept = queue.completions.ConsumerSleeps();
  if (queue.client_slept) RingClient(1 + index);
  return true;
}

bool Lane::Poll(uint32_t index, SpinGate& gate) {
  Queue& queue = *queues_[index];
  auto there = [&] { return queue.submissions.Peek() != Look::kNothing || dead(); };
  uint64_t budget_ns = queue.gaps.BudgetNs(spin_max_ns_);
  if (budget_ns == 0) return false;
  Backoff& backoff = queue.client_slept ? queue.while_client_sleeps : queue.while_client_runs;
  if (!backoff.Allow()) return false;
  // The request of a client that slept comes after a wake-up, which takes long unless it was on
  // this core.
  queue.polled = gate.Spin(queue.client_slept ? spin_max_ns_ : budget_ns, there);
  if (queue.polled == Spun::kFound) backoff.Hit();
  return queue.polled == Spun::kFound;
}

void Lane::LearnGap(Queue& queue, uint32_t gap_ns) {
  queue.gaps.Learn(gap_ns, spin_max_ns_);
  // A miss because the client took its time says nothing about polling: the average will.
  if (queue.polled == Spun::kMissed && gap_ns < kShortGapNs)
    (queue.client_slept ? queue.while_client_sleeps : queue.while_client_runs).Miss();
  queue.polled = Spun::kDenied;
}

void Lane::Count(Queue& queue, uint16_t op, Err error, uint32_t in_bytes, uint32_t out_bytes) {
  auto add = [](std::atomic<uint64_t>& counter, uint64_t value) {
    counter.store(counter.load(std::memory_order_relaxed) + value, std::memory_order_relaxed);
  };
  add(queue.calls, 1);
  if (error != Err::kOk) {
    add(queue.errors, 1);
  } else if (op == static_cast<uint16_t>(Op::kRead)) {
    add(queue.read_bytes, out_bytes);
  } else if (op == static_cast<uint16_t>(Op::kWrite) || op == static_cast<uint16_t>(Op::kCreate)) {
    add(queue.written_bytes, in_bytes);
  }
}

// True: it is in the ring, or the lane is over and nobody cares.
bool Lane::Tell(const fs::Event& event) {
  PRISM_CHECK(event.name.size() <= fs::kNameMax);
  EventSlot slot{};
  slot.ino = event.ino;
  slot.kind = static_cast<uint8_t>(event.kind);
  slot.name_bytes = static_cast<uint16_t>(event.name.size());
  std::memcpy(slot.name, event.name.data(), event.name.size());
  if (HasCookie(event.kind)) std::memcpy(slot.name, &event.cookie, sizeof event.cookie);
  switch (events_.Push(slot)) {
    case Look::kEntry:
      return true;
    case Look::kNothing:
      return false;
    case Look::kBroken:
      Fail("its event ring is inconsistent");
      return true;
  }
  return true;
}

void Lane::OnEvent(const fs::Event& event) {
  if (dead()) return;
  std::lock_guard lock(events_mutex_);
  if (!Tell(event)) {
    const bool matters =
        event.kind == fs::Event::Kind::kOrphaned || event.kind == fs::Event::Kind::kLockGranted;
    if (matters && untold_.size() < kUntoldMax) {
      untold_.push_back(event);
      has_untold_.store(true, std::memory_order_relaxed);
    }
    Shared(memory_.event_control()->lost).store(++lost_, std::memory_order_seq_cst);
  }
  if (events_.ConsumerSleeps()) RingClient(0);
}

void Lane::TellUntold() {
  std::lock_guard lock(events_mutex_);
  while (!untold_.empty() && Tell(untold_.back())) untold_.pop_back();
  has_untold_.store(!untold_.empty(), std::memory_order_relaxed);
  if (events_.ConsumerSleeps()) RingClient(0);
}

}  // namespace prism::vrpc
