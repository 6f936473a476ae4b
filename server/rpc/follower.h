// Keeps a worker on the CPU from which a lone client's calls come, where that is faster.
//
// Who makes one call after the other has nothing to gain from two cores, but to wake a thread on
// another core that is idle takes 25 us and more in a virtual machine, and 2 on its own. Linux
// wakes a thread where it was if that core is idle, so a client and its worker that are apart once
// stay so: 60 us a call, and 8 together. Where the calls come in is known (SO_INCOMING_CPU), but
// whether it is good to go there is not: the scheduler may move the client away again and again, or
// the CPU have other work. So both are tried, and what took less time for a call is kept until the
// next trial. Where going there does not help, trials become rare.
//
// THREADS: one, the worker's.
#pragma once

#include <sched.h>

#include <cstdint>

namespace prism::rpc {

class Follower {
 public:
  Follower();

  // After an event: the connection (its id, its socket) has sent so many calls.
  void Served(uint64_t connection, int fd, uint32_t calls);

 private:
  enum class Phase : uint8_t { kCrowd, kTryStaying, kTryFollowing, kStay, kFollow };
  static constexpr uint32_t kLoneCalls = 16;  // in a row, until a client counts as lone
  static constexpr uint32_t kTrialCalls = 64;
  static constexpr uint32_t kKeepCalls = 4096;
  static constexpr uint32_t kKeepCallsMax = 1 << 20;
  static constexpr uint64_t kPauseNs = 500'000;  // no call takes that long: the client has paused

  void Enter(Phase phase, uint32_t calls);
  void Next();
  void Follow(int fd);
  void BindTo(int cpu);
  void Unbind();

  cpu_set_t allowed_;  // where the worker may be
  int bound_cpu_ = -1;
  uint64_t connection_ = 0;
  Phase phase_ = Phase::kCrowd;
  uint32_t calls_left_ = kLoneCalls;  // in this phase
  uint64_t began_ns_ = 0;             // the phase
  uint64_t last_ns_ = 0;              // the last call
  uint64_t staying_ns_ = 0;           // what a trial has taken
  uint32_t stay_calls_ = kKeepCalls;
};

}  // namespace prism::rpc
