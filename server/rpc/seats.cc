#include "server/rpc/seats.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>

#include "fs/base/check.h"

namespace prism::rpc {
namespace {

constexpr uint64_t kReady = 0;
constexpr uint64_t kStop = 1;
constexpr int kQuietTicks = 5;  // until the watch sleeps

}  // namespace

Seats::Seats(uint32_t workers)
    : workers_(workers),
      free_(std::clamp(std::thread::hardware_concurrency(), 2u, workers_ + 1) - 1) {
  for (uint32_t i = 0; i < workers_; ++i) seats_.emplace_back();
}

Outcome<void> Seats::Start(int ready_fd, int stop_fd) {
  ready_fd_ = ready_fd;
  hook_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event ready{.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = kReady}};
  epoll_event stop{.events = EPOLLIN, .data = {.u64 = kStop}};
  if (!hook_ || ::epoll_ctl(hook_.get(), EPOLL_CTL_ADD, ready_fd, &ready) != 0 ||
      ::epoll_ctl(hook_.get(), EPOLL_CTL_ADD, stop_fd, &stop) != 0)
    return ExplainErrno(errno, "cannot make an epoll set");
  watch_ = std::thread([this] { Watch(); });
  ::pthread_setname_np(watch_.native_handle(), "rpc-watch");
  return {};
}

void Seats::Stop() {
  {
    std::lock_guard lock(watch_mutex_);
    stopping_ = true;
    watch_wakes_.notify_all();
  }
  if (watch_.joinable()) watch_.join();
}

bool Seats::Next(Seat& seat, epoll_event& event) {
  if (!seat.taken() && !TryTake(seat)) {
    SleepUntilReady(seat);
    if (!seat.taken()) return false;
  }
  waiting_.fetch_add(1, std::memory_order_relaxed);
  const int count = ::epoll_wait(ready_fd_, &event, 1, -1);
  waiting_.fetch_sub(1, std::memory_order_relaxed);
  if (count < 1) return false;
  // Either the watch sees this turn before it sleeps, or it is seen to sleep.
  seat.turn_.fetch_add(1);
  if (watch_sleeps_.load()) {
    std::lock_guard lock(watch_mutex_);
    watch_sleeps_ = false;
    watch_wakes_.notify_all();
  }
  return true;
}

bool Seats::TryTake(Seat& seat) {
  std::lock_guard lock(mutex_);
  if (free_ == 0) return false;
  if (--free_ == 0) ArmLocked(false);
  seat.taken_ = true;
  return true;
}

// One event wakes one of those that sleep here, and disarms the hook.
void Seats::SleepUntilReady(Seat& seat) {
  epoll_event event{};
  sleeping_.fetch_add(1, std::memory_order_relaxed);
  const int count = ::epoll_wait(hook_.get(), &event, 1, -1);
  sleeping_.fetch_sub(1, std::memory_order_relaxed);
  if (count < 1 || event.data.u64 == kStop) return;
  std::lock_guard lock(mutex_);
  if (free_ == 0) return;
  if (--free_ > 0) ArmLocked(true);
  seat.taken_ = true;
}

void Seats::Leave(Seat& seat) {
  if (seat.taken_.exchange(false)) Free();
}

void Seats::Free() {
  std::lock_guard lock(mutex_);
  ++free_;
  ArmLocked(true);
}

void Seats::ArmLocked(bool armed) {
  epoll_event event{.events = EPOLLONESHOT | (armed ? uint32_t{EPOLLIN} : 0u),
                    .data = {.u64 = kReady}};
  PRISM_CHECK(::epoll_ctl(hook_.get(), EPOLL_CTL_MOD, ready_fd_, &event) == 0);
}

bool Seats::OthersWait() const {
  return waiting_.load(std::memory_order_relaxed) > 0 ||
         (free_.load(std::memory_order_relaxed) > 0 &&
          sleeping_.load(std::memory_order_relaxed) > 0);
}

void Seats::Watch() {
  std::unique_lock lock(watch_mutex_);
  for (int quiet_ticks = 0; !stopping_;) {
    watch_wakes_.wait_for(lock, std::chrono::milliseconds(kTickMs), [&] { return stopping_; });
    quiet_ticks = LookAround() ? 0 : quiet_ticks + 1;
    if (quiet_ticks < kQuietTicks) continue;
    watch_sleeps_ = true;
    if (!LookAround()) watch_wakes_.wait(lock, [&] { return stopping_ || !watch_sleeps_.load(); });
    watch_sleeps_ = false;
    quiet_ticks = 0;
  }
}

// Whether a worker is at an event, or has been since the last time. Who has been at one for all the
// time loses its seat.
bool Seats::LookAround() {
  bool busy = false;
  for (Seat& seat : seats_) {
    const uint64_t turn = seat.turn_.load();
    const bool at_event = turn % 2 == 1;
    if (at_event && turn == seat.seen_turn_ && seat.taken()) {
      Pace* pace = seat.pace_.load(std::memory_order_relaxed);
      if (pace != nullptr) pace->Learn(uint64_t{kTickMs} * 1'000'000);
      Leave(seat);
    }
    busy |= at_event || turn != seat.seen_turn_;
    seat.seen_turn_ = turn;
  }
  return busy;
}

}  // namespace prism::rpc
