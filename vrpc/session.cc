#include "vrpc/session.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "fs/base/check.h"
#include "vrpc/doorbell.h"
#include "vrpc/handshake.h"

namespace prism::vrpc {
namespace {

// A reply that took the server less than this should have come while it was polled for.
constexpr uint32_t kShortServiceNs = 5000;

// Without eventfds: how a waiter for a reply sleeps, and the watcher while nothing happens.
constexpr uint32_t kPauseMinUs = 20;
constexpr uint32_t kPauseMaxUs = 1000;
constexpr int kWatchMs = 50;

constexpr uint32_t kByeMs = 1000;  // how long a good-bye may take

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
  header.number = caller.request != nullptr ? caller.request->number : 0;
  message.assign(reinterpret_cast<const char*>(&header), sizeof header);
  message.append(reinterpret_cast<const char*>(caller.groups.data()), caller.groups.size_bytes());
  message.append(body);
}

}  // namespace

Session::Session(std::unique_ptr<Endpoint> endpoint, const Grant& grant, UniqueFd wake,
                 uint32_t spin_us_max)
    : endpoint_(std::move(endpoint)),
      lane_(grant.lane),
      first_vector_(grant.lane.geometry().handshake_vector(grant.index)),
      epoch_(grant.epoch),
      polls_(event_fd(0) < 0),
      wake_(std::move(wake)),
      spin_max_ns_(uint64_t{spin_us_max} * 1000),
      queues_(grant.queues),
      free_queues_(AllQueues(grant.queues)) {
  const Geometry& geometry = lane_.geometry();
  for (uint32_t i = 0; i < grant.queues; ++i) {
    QueueControl* control = lane_.queue(i);
    queues_[i].submissions = {&control->submission, lane_.submissions(i), geometry.ring_entries};
    queues_[i].completions = {&control->completion, lane_.completions(i), geometry.ring_entries};
  }
  events_ = {&lane_.event_control()->ring, lane_.event_slots(), geometry.events};
}

int Session::TryBorrow() {
  uint64_t free = free_queues_.load(std::memory_order_seq_cst);  // after waiters_: see GiveBack
  while (free != 0) {
    int lowest = std::countr_zero(free);
    if (free_queues_.compare_exchange_weak(free, free & ~(uint64_t{1} << lowest),
                                           std::memory_order_seq_cst))
      return lowest;
  }
  return -1;
}

int Session::Borrow() {
  if (dead()) return -1;
  int index = TryBorrow();
  if (index >= 0) return index;
  std::unique_lock lock(waiters_mutex_);
  waiters_.fetch_add(1, std::memory_order_seq_cst);
  queue_freed_.wait(lock, [&] { return dead() || (index = TryBorrow()) >= 0; });
  waiters_.fetch_sub(1, std::memory_order_seq_cst);
  return index;
}

void Session::GiveBack(uint32_t index) {
  free_queues_.fetch_or(uint64_t{1} << index, std::memory_order_seq_cst);
  if (waiters_.load(std::memory_order_seq_cst) == 0) return;
  std::lock_guard lock(waiters_mutex_);  // a waiter between its look and its sleep holds it
  queue_freed_.notify_one();
}

Result<Session::Borrowed::Reply> Session::Borrowed::Exchange(Op op, const fs::Caller& caller,
                                                             std::string_view body,
                                                             uint32_t payload_bytes) {
  uint32_t index = static_cast<uint32_t>(index_);
  Queue& queue = session_.queues_[index];
  std::span<std::byte> slot = session_.lane_.message(index, kSlot);
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
    // What a call left behind that ended with the session may fill the ring.
    if (session_.Ended()) return Fail(Err::kDisconnected);
    session_.Break("it does not take submissions");
    return Fail(Err::kProtocol);
  }
  bool rang = queue.submissions.ConsumerSleeps();
  if (rang) session_.endpoint_->RingServer(session_.first_vector_ + 1 + index);

  PRISM_ASSIGN(CompletionEntry completion, session_.Await(index, op, rang));
  queue.last_reply_ns = NowNs();
  message.resize(completion.message_bytes);
  FetchOnce(message.data(), slot.data(), completion.message_bytes);
  ReplyHeader header;
  std::memcpy(&header, message.data(), sizeof header);
  if (header.id != id || header.error >= kErrCount) {
    session_.Break("its reply answers another request");
    return Fail(Err::kProtocol);
  }
  if (header.error != 0) return Fail(static_cast<Err>(header.error));
  return Reply{std::string_view(message).substr(sizeof header), completion.payload_bytes};
}

bool Session::CheckCompletion(const CompletionEntry& entry) const {
  const Geometry& geometry = lane_.geometry();
  return entry.slot == kSlot && entry.message_bytes >= sizeof(ReplyHeader) &&
         entry.message_bytes <= geometry.message_bytes &&
         entry.payload_bytes <= geometry.payload_bytes;
}

Spun Session::PollForReply(Queue& queue, Op op, bool rang) {
  uint64_t budget_ns = service_times_[static_cast<size_t>(op)].BudgetNs(spin_max_ns_);
  if (budget_ns == 0) return Spun::kDenied;
  if (!(rang ? while_server_wakes_ : while_server_runs_).Allow()) return Spun::kDenied;
  auto there = [&] { return queue.completions.Peek() != Look::kNothing; };
  return ClientGate().Spin(rang ? spin_max_ns_ : budget_ns, there);
}

Result<CompletionEntry> Session::Await(uint32_t index, Op op, bool rang) {
  Queue& queue = queues_[index];
  Spun spun = PollForReply(queue, op, rang);
  uint32_t pause_us = kPauseMinUs;
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
      if (polls_) WakeWatcher();
      return entry;
    }
    if (Ended()) {
      Die();  // before this queue is free again
      return Fail(Err::kDisconnected);
    }
    AwaitCompletion(queue, index, pause_us);
  }
}

void Session::AwaitCompletion(Queue& queue, uint32_t index, uint32_t& pause_us) {
  if (polls_) {
    ::usleep(pause_us);
    pause_us = std::min(2 * pause_us, kPauseMaxUs);
    return;
  }
  if (!queue.completions.PrepareSleep()) return;
  // Die() sets dead before it rings, and the server the epoch: either it is seen here, or the ring
  // is still to come.
  if (!Ended()) AwaitRing(event_fd(1 + index));
  queue.completions.Wake();
}

// Notices too that the server has ended the session.
bool Session::Ended() const { return dead() || LoadEpoch(lane_) != epoch_; }

void Session::Die() {
  {
    std::lock_guard lock(waiters_mutex_);
    dead_.store(true, std::memory_order_seq_cst);
    queue_freed_.notify_all();
  }
  if (polls_) return;
  for (uint32_t i = 0; i < queues_.size(); ++i) Ring(event_fd(1 + i));
}

void Session::Close() {
  if (closed_here_.exchange(true)) return;
  Die();
  Ring(wake_.get());
  if (LoadEpoch(lane_) != epoch_) return;  // the server knows
  // Where the channel's end tells too, nobody waits.
  bool waits = endpoint_->lifeline() < 0;
  Deadline deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(waits ? kByeMs : 0);
  Outcome<void> said = SayBye(*endpoint_, lane_, first_vector_, deadline);
  if (waits && !said) spdlog::warn("no good-bye from the server: {}", said.error().message);
}

void Session::Break(const char* reason) {
  spdlog::error("the server's end of a lane broke the protocol: {}", reason);
  Die();
  Ring(wake_.get());
}

// Without eventfds nothing tells of events but a look; a reply is a good time for one.
void Session::WakeWatcher() {
  RingControl& ring = lane_.event_control()->ring;
  if (Shared(ring.tail).load(std::memory_order_relaxed) ==
      Shared(ring.head).load(std::memory_order_relaxed))
    return;
  if (!watcher_woken_.exchange(true)) Ring(wake_.get());
}

void Session::SetListener(fs::EventListener* listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = listener;
}

void Session::SetDisconnectCallback(std::function<void()> callback) {
  {
    std::lock_guard lock(callback_mutex_);
    if (!callback_due_) {
      callback_ = std::move(callback);
      return;
    }
  }
  if (callback) callback();
}

void Session::Deliver(const fs::Event& event) {
  std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_->OnEvent(event);
}

void Session::DrainEvents() {
  uint32_t lost = Shared(lane_.event_control()->lost).load(std::memory_order_acquire);
  EventSlot slot;
  Look look;
  while ((look = events_.Pop(slot)) == Look::kEntry) {
    if (slot.kind > static_cast<uint8_t>(fs::Event::Kind::kBarrier) ||
        slot.name_bytes > fs::kNameMax)
      return Break("an event is out of bounds");
    fs::Event event{.kind = static_cast<fs::Event::Kind>(slot.kind), .ino = slot.ino};
    if (HasCookie(event.kind))
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

void Session::AwaitEvents() {
  pollfd fds[] = {{.fd = wake_.get(), .events = POLLIN, .revents = 0},
                  {.fd = event_fd(0), .events = POLLIN, .revents = 0},
                  {.fd = endpoint_->lifeline(), .events = POLLIN | POLLRDHUP, .revents = 0}};
  if (::poll(fds, 3, polls_ ? kWatchMs : -1) < 0) return;
  if (fds[0].revents != 0) TryClear(wake_.get());
  if (fds[1].revents != 0) TryClear(event_fd(0));
  watcher_woken_ = false;
  if (fds[2].revents != 0) Die();  // a channel's socket says nothing until it ends
}

void Session::Watch() {
  while (!Ended()) {
    events_.Wake();
    DrainEvents();
    if (!polls_ && !events_.PrepareSleep()) continue;
    if (Shared(lane_.event_control()->lost).load(std::memory_order_seq_cst) != lost_seen_) continue;
    if (!Ended()) AwaitEvents();
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
