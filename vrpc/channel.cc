#include "vrpc/channel.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "fs/base/check.h"
#include "vrpc/doorbell.h"

namespace prism::vrpc {
namespace {

// A reply that took the server less than this should have come while it was polled for.
constexpr uint32_t kShortServiceNs = 5000;

// One for the process: several lanes do not have more cores.
SpinGate& ClientGate() {
  static SpinGate gate;
  return gate;
}

uint64_t AllQueues(uint32_t count) {
  return count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
}

void ComposeRequest(std::string& message, uint64_t id, Op op, const fs::Caller& caller,
                    std::string_view body) {
  RequestHeader header{};
  header.id = id;
  header.op = static_cast<uint16_t>(op);
  header.groups = static_cast<uint16_t>(caller.groups.size());
  header.check_permission = caller.check_permission ? 1 : 0;
  header.uid = caller.uid;
  header.gid = caller.gid;
  message.assign(reinterpret_cast<const char*>(&header), sizeof header);
  message.append(reinterpret_cast<const char*>(caller.groups.data()), caller.groups.size_bytes());
  message.append(body);
}

}  // namespace

Channel::Channel(UniqueFd socket, Segment segment, LaneFds fds, uint32_t spin_us_max)
    : socket_(std::move(socket)),
      segment_(std::move(segment)),
      fds_(std::move(fds)),
      spin_max_ns_(uint64_t{spin_us_max} * 1000),
      queues_(segment_.geometry().queues),
      free_queues_(AllQueues(segment_.geometry().queues)) {
  const Geometry& geometry = segment_.geometry();
  for (uint32_t i = 0; i < geometry.queues; ++i) {
    QueueControl* control = segment_.queue(i);
    queues_[i].submissions = {&control->submission, segment_.submissions(i), geometry.ring_entries};
    queues_[i].completions = {&control->completion, segment_.completions(i), geometry.ring_entries};
  }
  events_ = {&segment_.event_control()->ring, segment_.event_slots(), geometry.events};
}

int Channel::TryBorrow() {
  uint64_t free = free_queues_.load(std::memory_order_relaxed);
  while (free != 0) {
    int lowest = std::countr_zero(free);
    if (free_queues_.compare_exchange_weak(free, free & ~(uint64_t{1} << lowest),
                                           std::memory_order_seq_cst))
      return lowest;
  }
  return -1;
}

int Channel::Borrow() {
  if (dead()) return -1;
  int index = TryBorrow();
  if (index >= 0) return index;
  std::unique_lock lock(waiters_mutex_);
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  queue_freed_.wait(lock, [&] { return dead() || (index = TryBorrow()) >= 0; });
  waiters_.fetch_sub(1, std::memory_order_seq_cst);
  return index;
}

void Channel::GiveBack(uint32_t index) {
  free_queues_.fetch_or(uint64_t{1} << index, std::memory_order_seq_cst);
  if (waiters_.load(std::memory_order_seq_cst) == 0) return;
  std::lock_guard lock(waiters_mutex_);  // a waiter between its look and its sleep holds it
  queue_freed_.notify_one();
}

Result<Channel::Borrowed::Reply> Channel::Borrowed::Exchange(Op op, const fs::Caller& caller,
                                                             std::string_view body,
                                                             uint32_t payload_bytes) {
  uint32_t index = static_cast<uint32_t>(index_);
  Queue& queue = channel_.queues_[index];
  std::span<std::byte> slot = channel_.segment_.message(index, kSlot);
  thread_local std::string message;
  uint64_t id = queue.next_id++;
  ComposeRequest(message, id, op, caller, body);
  PRISM_CHECK(message.size() <= slot.size() && payload_bytes <= payload().size());
  std::memcpy(slot.data(), message.data(), message.size());
  uint64_t gap_ns = NowNs() - queue.last_reply_ns;
  SubmissionEntry submission{
      .slot = kSlot,
      .message_bytes = static_cast<uint32_t>(message.size()),
      .payload_bytes = payload_bytes,
      .gap_ns = static_cast<uint32_t>(std::min<uint64_t>(gap_ns, UINT32_MAX))};
  if (queue.submissions.Push(submission) != Look::kEntry) {
    channel_.Break("it does not take submissions");
    return Fail(Err::kProtocol);
  }
  bool rang = queue.submissions.ConsumerSleeps();
  if (rang) Ring(channel_.fds_.doorbells[index].get());

  PRISM_ASSIGN(CompletionEntry completion, channel_.Await(index, op, rang));
  queue.last_reply_ns = NowNs();
  message.resize(completion.message_bytes);
  FetchOnce(message.data(), slot.data(), completion.message_bytes);
  ReplyHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  if (header.id != id || header.error >= kErrCount) {
    channel_.Break("its reply answers another request");
    return Fail(Err::kProtocol);
  }
  if (header.error != 0) return Fail(static_cast<Err>(header.error));
  return Reply{std::string_view(message).substr(sizeof header), completion.payload_bytes};
}

bool Channel::CheckCompletion(const CompletionEntry& entry) const {
  const Geometry& geometry = segment_.geometry();
  return entry.slot == kSlot && entry.message_bytes >= sizeof(ReplyHeader) &&
         entry.message_bytes <= geometry.message_bytes &&
         entry.payload_bytes <= geometry.payload_bytes;
}

Spun Channel::PollForReply(Queue& queue, Op op, bool rang) {
  uint64_t budget_ns = service_times_[static_cast<size_t>(op)].BudgetNs(spin_max_ns_);
  if (budget_ns == 0) return Spun::kDenied;
  if (!(rang ? while_server_wakes_ : while_server_runs_).Allow()) return Spun::kDenied;
  auto there = [&] { return queue.completions.Peek() != Look::kNothing; };
  return ClientGate().Spin(rang ? spin_max_ns_ : budget_ns, there);
}

Result<CompletionEntry> Channel::Await(uint32_t index, Op op, bool rang) {
  Queue& queue = queues_[index];
  Spun spun = PollForReply(queue, op, rang);
  for (;;) {
    CompletionEntry entry;
    Look look = queue.completions.Pop(entry);
    if (look == Look::kBroken || (look == Look::kEntry && !CheckCompletion(entry))) {
      Break("its completion is out of bounds");
      return Fail(Err::kProtocol);
    }
    if (look == Look::kEntry) {
      service_times_[static_cast<size_t>(op)].Learn(entry.service_ns, spin_max_ns_);
      // A miss because the work took long says nothing about polling: the average will.
      Backoff& backoff = rang ? while_server_wakes_ : while_server_runs_;
      if (spun == Spun::kFound) backoff.Hit();
      if (spun == Spun::kMissed && entry.service_ns < kShortServiceNs) backoff.Miss();
      return entry;
    }
    if (dead()) return Fail(Err::kDisconnected);
    if (!queue.completions.PrepareSleep()) continue;
    // Die() sets dead before it rings: either it is seen here, or the ring is still to come.
    if (!dead()) AwaitRing(fds_.completions[index].get());
    queue.completions.Wake();
  }
}

void Channel::Die() {
  {
    std::lock_guard lock(waiters_mutex_);
    dead_.store(true, std::memory_order_seq_cst);
    queue_freed_.notify_all();
  }
  for (const UniqueFd& fd : fds_.completions) Ring(fd.get());
}

void Channel::Close() {
  closed_here_ = true;
  ::shutdown(socket_.get(), SHUT_RDWR);
  Die();
}

void Channel::Break(const char* reason) {
  spdlog::error("the server's end of a lane broke the protocol: {}", reason);
  ::shutdown(socket_.get(), SHUT_RDWR);  // the watcher sees it
  Die();
}

void Channel::SetListener(fs::EventListener* listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = listener;
}

void Channel::SetDisconnectCallback(std::function<void()> callback) {
  {
    std::lock_guard lock(callback_mutex_);
    if (!callback_due_) {
      callback_ = std::move(callback);
      return;
    }
  }
  if (callback) callback();
}

void Channel::Deliver(const fs::Event& event) {
  std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_->OnEvent(event);
}

void Channel::DrainEvents() {
  uint32_t lost = Shared(segment_.event_control()->lost).load(std::memory_order_acquire);
  EventSlot slot;
  Look look;
  while ((look = events_.Pop(slot)) == Look::kEntry) {
    if (slot.kind > static_cast<uint8_t>(fs::Event::Kind::kLockGranted) ||
        slot.name_bytes > fs::kNameMax)
      return Break("an event is out of bounds");
    fs::Event event{.kind = static_cast<fs::Event::Kind>(slot.kind), .ino = slot.ino};
    if (event.kind == fs::Event::Kind::kLockGranted)
      std::memcpy(&event.cookie, slot.name, sizeof event.cookie);
    else
      event.name.assign(slot.name, slot.name_bytes);
    Deliver(event);
  }
  if (look == Look::kBroken) return Break("its event ring is inconsistent");
  if (lost == lost_seen_) return;
  lost_seen_ = lost;
  Deliver({.kind = fs::Event::Kind::kAll, .ino = 0, .name = {}});
}

void Channel::Watch() {
  while (!dead()) {
    events_.Wake();
    DrainEvents();
    if (!events_.PrepareSleep()) continue;
    if (Shared(segment_.event_control()->lost).load(std::memory_order_seq_cst) != lost_seen_)
      continue;
    pollfd fds[] = {{.fd = socket_.get(), .events = POLLIN | POLLRDHUP, .revents = 0},
                    {.fd = fds_.notify.get(), .events = POLLIN, .revents = 0}};
    if (::poll(fds, 2, -1) < 0) continue;
    if (fds[0].revents != 0) break;  // a lane's socket says nothing until it ends
    TryClear(fds_.notify.get());
  }
  Die();
  std::function<void()> callback;
  {
    std::lock_guard lock(callback_mutex_);
    if (closed_here_) return;
    callback_due_ = true;
    callback = std::move(callback_);
  }
  if (callback) callback();
}

}  // namespace prism::vrpc
