#include "server/rpc/follower.h"

#include <sys/socket.h>

#include <algorithm>

#include "server/rpc/pace.h"

namespace prism::rpc {

Follower::Follower() {
  CPU_ZERO(&allowed_);
  // Fails where there are too many to count; then there is none to go to.
  (void)::sched_getaffinity(0, sizeof allowed_, &allowed_);
}

void Follower::Served(uint64_t connection, int fd, uint32_t calls) {
  if (connection != connection_ || calls != 1) {
    connection_ = connection;
    return Enter(Phase::kCrowd, kLoneCalls);
  }
  const uint64_t now_ns = Pace::NowNs();
  if (now_ns - last_ns_ > kPauseNs) began_ns_ += now_ns - last_ns_ - kPauseNs;
  last_ns_ = now_ns;
  if (--calls_left_ == 0) Next();
  if (phase_ == Phase::kTryFollowing || phase_ == Phase::kFollow) Follow(fd);
}

void Follower::Enter(Phase phase, uint32_t calls) {
  phase_ = phase;
  calls_left_ = calls;
  began_ns_ = last_ns_;
  if (phase != Phase::kTryFollowing && phase != Phase::kFollow) Unbind();
}

void Follower::Next() {
  const uint64_t took_ns = last_ns_ - began_ns_;
  switch (phase_) {
    case Phase::kTryStaying:
      staying_ns_ = took_ns;
      return Enter(Phase::kTryFollowing, kTrialCalls);
    case Phase::kTryFollowing:
      // Staying is as fast by chance when they are together: that ends, and following does not.
      if (took_ns < staying_ns_ + staying_ns_ / 4) {
        stay_calls_ = kKeepCalls;
        return Enter(Phase::kFollow, kKeepCalls);
      }
      Enter(Phase::kStay, stay_calls_);
      stay_calls_ = std::min(2 * stay_calls_, kKeepCallsMax);
      return;
    case Phase::kCrowd:
    case Phase::kStay:
    case Phase::kFollow:
      return Enter(Phase::kTryStaying, kTrialCalls);
  }
}

void Follower::Follow(int fd) {
  int cpu = -1;
  socklen_t size = sizeof cpu;
  if (::getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, &cpu, &size) == 0 && cpu != bound_cpu_)
    BindTo(cpu);
}

void Follower::BindTo(int cpu) {
  if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET(cpu, &allowed_)) return;
  cpu_set_t there;
  CPU_ZERO(&there);
  CPU_SET(cpu, &there);
  if (::sched_setaffinity(0, sizeof there, &there) == 0) bound_cpu_ = cpu;
}

void Follower::Unbind() {
  if (bound_cpu_ < 0) return;
  bound_cpu_ = -1;
  (void)::sched_setaffinity(0, sizeof allowed_, &allowed_);  // or it stays: no harm
}

}  // namespace prism::rpc
