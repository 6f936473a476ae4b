#include "server/rpc/connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fs/base/check.h"

namespace prism::rpc {
namespace {

constexpr size_t kSegmentsMax = 64;  // of one sendmsg
constexpr std::array<std::byte, 4> kZeros{};

// The pieces of what is to be sent, as sendmsg wants them.
class Gather {
 public:
  // Leaves out the first skip_bytes of what is added.
  explicit Gather(size_t skip_bytes) : skip_bytes_(skip_bytes) {}

  // What is added from then on is left out.
  bool full() const { return count_ == kSegmentsMax; }
  void Add(const OutMessage& message) {
    if (message.kept != nullptr) return Add(*message.kept);
    Add(message.header.bytes());
    Add(message.results);
    for (const KeptBytes& part : message.payload) Add(part.bytes);
    const size_t payload_bytes = message.payload_bytes();
    Add(std::span(kZeros).first(XdrPadded(payload_bytes) - payload_bytes));
  }
  size_t size_bytes() const { return size_bytes_; }
  msghdr Message() {
    msghdr message{};
    message.msg_iov = segments_.data();
    message.msg_iovlen = count_;
    return message;
  }

 private:
  void Add(std::span<const std::byte> bytes) {
    const size_t skipped = std::min(skip_bytes_, bytes.size());
    skip_bytes_ -= skipped;
    bytes = bytes.subspan(skipped);
    if (bytes.empty() || full()) return;
    segments_[count_++] = {const_cast<std::byte*>(bytes.data()), bytes.size()};
    size_bytes_ += bytes.size();
  }

  size_t skip_bytes_;
  size_t count_ = 0;
  size_t size_bytes_ = 0;
  std::array<iovec, kSegmentsMax> segments_;
};

}  // namespace

uint64_t CoarseNowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

Connection::Connection(uint64_t id, UniqueFd fd, const PeerAddress& peer,
                       std::shared_ptr<Client> client, int epoll_fd, size_t record_max_bytes,
                       const Patience& patience, Counter& bytes_out)
    : id_(id),
      fd_(std::move(fd)),
      peer_(peer),
      client_(std::move(client)),
      epoll_fd_(epoll_fd),
      patience_(patience),
      bytes_out_(bytes_out),
      input_(record_max_bytes, client_) {
  client_->connections().fetch_add(1, std::memory_order_relaxed);
}

Connection::~Connection() { client_->connections().fetch_sub(1, std::memory_order_relaxed); }

bool Connection::Watch() {
  ExpectInput();
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = id_}};
  return ::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd(), &event) == 0;
}

uint32_t Connection::WantedLocked() const {
  if (closed()) return 0;
  if (output_blocked()) return EPOLLOUT;
  if (reading_ || parked_) return 0;
  // A socket that takes bytes is ready for output at once, and stands behind those that are ready
  // now.
  return again_ ? uint32_t{EPOLLIN | EPOLLOUT} : uint32_t{EPOLLIN};
}

// A socket that is ready wakes another worker before epoll_ctl returns, which would only wait for
// the mutex. So it is not held meanwhile, and who wants something else then is served afterwards.
void Connection::Arm(std::unique_lock<std::mutex>& lock) {
  arm_ = true;
  if (arming_) return;  // the thread that does it looks again
  arming_ = true;
  while (std::exchange(arm_, false)) {
    const uint32_t wanted = WantedLocked();
    if (wanted == 0) continue;
    lock.unlock();
    epoll_event event{.events = EPOLLONESHOT | wanted, .data = {.u64 = id_}};
    const int result = ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd(), &event);
    PRISM_CHECK(result == 0 || (errno == ENOENT && closed()));
    lock.lock();
  }
  arming_ = false;
}

// Several events may be on their way to several workers, as Release and Flush arm the socket from
// other threads: what is asked for is looked up here, not in the event.
Connection::Duty Connection::Take(uint32_t events) {
  std::unique_lock lock(mutex_);
  Duty duty;
  if (closed()) return duty;
  if (output_blocked()) {
    if (writing_) return duty;  // the writer arms the socket when it stops
    if ((events & ~uint32_t{EPOLLIN}) != 0)
      duty.write = writing_ = true;
    else
      Arm(lock);
    return duty;
  }
  if (!reading_ && !parked_) {
    duty.read = reading_ = true;
    again_ = false;
    calls_due_ns_.store(0, std::memory_order_relaxed);
    record_due_ns_.store(0, std::memory_order_relaxed);
  }
  return duty;
}

void Connection::Release(bool again) {
  input_.Idle();
  if (!again) ExpectInput();
  std::unique_lock lock(mutex_);
  reading_ = false;
  again_ = again;
  Arm(lock);
}

void Connection::ExpectInput() {
  const uint64_t now_ns = CoarseNowNs();
  last_read_ns_.store(now_ns, std::memory_order_relaxed);
  if (!input_.mid_record()) {
    calls_due_ns_.store(now_ns + patience_.idle_ns, std::memory_order_relaxed);
    return;
  }
  // A record that goes on keeps its deadline, but for its progress.
  const uint64_t bytes = input_.received_bytes();
  if (expected_record_ != input_.records() + 1 ||
      bytes - expected_bytes_ >= Patience::kProgressBytes) {
    expected_record_ = input_.records() + 1;
    expected_bytes_ = bytes;
    record_deadline_ns_ = now_ns + patience_.record_ns;
  }
  record_due_ns_.store(record_deadline_ns_, std::memory_order_relaxed);
}

Connection::Overdue Connection::Check(uint64_t now_ns) {
  const auto passed = [&](uint64_t due_ns) { return due_ns != 0 && now_ns > due_ns; };
  const uint64_t blocked_since_ns = blocked_since_ns_.load(std::memory_order_relaxed);
  if (blocked_since_ns != 0)
    return passed(blocked_since_ns + patience_.send_ns) ? Overdue::kSend : Overdue::kNothing;
  if (passed(record_due_ns_.load(std::memory_order_relaxed))) return Overdue::kRecord;
  uint64_t due_ns = calls_due_ns_.load(std::memory_order_relaxed);
  if (!passed(due_ns)) return Overdue::kNothing;
  if (calls() == 0) return Overdue::kCalls;
  // It waits for us; its time begins anew, unless it has sent something meanwhile.
  calls_due_ns_.compare_exchange_strong(due_ns, now_ns + patience_.idle_ns);
  return Overdue::kNothing;
}

void Connection::Park() {
  std::lock_guard lock(mutex_);
  reading_ = false;
  parked_ = true;
}

void Connection::Unpark() {
  std::lock_guard lock(mutex_);
  reading_ = true;
  parked_ = false;
}

bool Connection::TakeGrant() {
  if (!granted_.load(std::memory_order_relaxed)) return false;
  std::lock_guard lock(mutex_);
  return granted_.exchange(false, std::memory_order_relaxed);
}

bool Connection::Grant() {
  std::unique_lock lock(mutex_);
  if (closed()) return false;
  parked_ = false;
  again_ = true;
  // While its client takes no replies it must not keep others from their turn.
  const bool granted = !output_blocked();
  granted_ = granted;
  Arm(lock);
  return granted;
}

void Connection::Queue(OutMessage message) {
  std::lock_guard lock(mutex_);
  if (!closed()) out_.push_back(std::move(message));
}

void Connection::Flush() {
  std::unique_lock lock(mutex_);
  if (writing_ || output_blocked() || closed() || out_.empty()) return;
  writing_ = true;
  WriteLocked(lock);
}

void Connection::Resume() {
  std::unique_lock lock(mutex_);
  WriteLocked(lock);
  if (!output_blocked()) Arm(lock);
}

void Connection::WriteLocked(std::unique_lock<std::mutex>& lock) {
  std::vector<OutMessage> done;
  bool blocked = false;
  while (!out_.empty() && !blocked && !closed()) {
    Gather gather(out_sent_bytes_);
    for (auto it = out_.begin(); it != out_.end() && !gather.full(); ++it) gather.Add(*it);
    lock.unlock();
    done.clear();
    msghdr message = gather.Message();
    const ssize_t sent = ::sendmsg(fd(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    const int error = sent < 0 ? errno : 0;
    lock.lock();
    if (sent >= 0) {
      bytes_out_.Add(static_cast<uint64_t>(sent));
      progress_bytes_ += static_cast<uint64_t>(sent);
      ConsumeLocked(static_cast<size_t>(sent), done);
      blocked = static_cast<size_t>(sent) < gather.size_bytes();
    } else if (error == EAGAIN) {
      blocked = true;
    } else if (error != EINTR) {
      out_.clear();  // the peer has gone; its reader finds out
      out_sent_bytes_ = 0;
    }
  }
  if (closed()) out_.clear();
  writing_ = false;
  const bool was_blocked = out_blocked_.exchange(blocked, std::memory_order_relaxed);
  if (!blocked) {
    blocked_since_ns_.store(0, std::memory_order_relaxed);
  } else {
    if (!was_blocked || progress_bytes_ >= Patience::kProgressBytes) {
      progress_bytes_ = 0;
      blocked_since_ns_.store(CoarseNowNs(), std::memory_order_relaxed);
    }
    Arm(lock);
  }
  lock.unlock();  // payloads may take a while to go
  done.clear();
  lock.lock();
}

void Connection::ConsumeLocked(size_t sent_bytes, std::vector<OutMessage>& done) {
  sent_bytes += out_sent_bytes_;
  while (!out_.empty() && sent_bytes >= out_.front().size_bytes()) {
    sent_bytes -= out_.front().size_bytes();
    done.push_back(std::move(out_.front()));
    out_.pop_front();
  }
  out_sent_bytes_ = sent_bytes;
}

Connection::Closing Connection::Close() {
  std::lock_guard lock(mutex_);
  if (closed()) return {};
  closed_.store(true, std::memory_order_relaxed);
  ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd(), nullptr);
  ::shutdown(fd(), SHUT_RDWR);
  if (!writing_) out_.clear();
  return {.first = true, .granted = granted_.exchange(false)};
}

}  // namespace prism::rpc
