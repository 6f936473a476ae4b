// Which workers wait for events: as many as have a seat, not all of them.
//
// With a client on the same machine a wake-up costs more than most calls, and every worker that is
// awake takes a core from somebody. So one worker that serves call after call is faster than many
// that take turns: there is a seat less than there are cores, and whoever has one goes on while
// there is anything to do. Nobody waits for a call that takes its time, because its worker leaves
// the seat before it (Leave). A free seat wakes nobody: a sleeping worker takes it when there is an
// event, and the one that has left it may be back before. A worker that does not leave it although
// a call takes long loses it: a watch looks at all of them every kTickMs while there are events. It
// sleeps when there are none.
//
// THREADS: any, but a Seat's own functions.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <thread>

#include "fs/base/failure.h"
#include "server/rpc/pace.h"
#include "server/rpc/socket.h"

namespace prism::rpc {

// Where a worker is. Its own thread's, but for what Seats does.
class Seat {
 public:
  bool taken() const { return taken_.load(std::memory_order_relaxed); }
  // What it is about to do; the pace is told if that costs it the seat.
  void Begin(Pace* pace) { pace_.store(pace, std::memory_order_relaxed); }

 private:
  friend class Seats;
  std::atomic<bool> taken_ = false;
  std::atomic<uint64_t> turn_ = 0;  // odd: at an event
  std::atomic<Pace*> pace_ = nullptr;
  uint64_t seen_turn_ = 0;  // the watch's
};

class Seats {
 public:
  static constexpr int kTickMs = 10;

  explicit Seats(uint32_t workers);
  ~Seats() { Stop(); }

  // ready_fd is the epoll set of the events; stop_fd becomes readable when all shall return.
  Outcome<void> Start(int ready_fd, int stop_fd);
  void Stop();

  Seat& seat(uint32_t worker) { return seats_[worker]; }
  // Waits for an event; false: there may be none, look whether it is time to stop. Then Done.
  bool Next(Seat& seat, epoll_event& event);
  void Done(Seat& seat) { seat.turn_.fetch_add(1, std::memory_order_release); }
  // Before what may take long. Idempotent.
  void Leave(Seat& seat);
  // Whether another worker serves what becomes ready while the caller is busy.
  bool OthersWait() const;

 private:
  bool TryTake(Seat& seat);
  void SleepUntilReady(Seat& seat);
  void Free();
  void ArmLocked(bool armed);
  void Watch();
  bool LookAround();

  const uint32_t workers_;
  std::deque<Seat> seats_;  // of all workers
  int ready_fd_ = -1;
  UniqueFd hook_;  // an epoll set: the other one, one-shot, watched while a seat is free
  std::atomic<uint32_t> waiting_ = 0;   // workers that wait for an event
  std::atomic<uint32_t> sleeping_ = 0;  // workers that wait for an event and a seat
  std::atomic<uint32_t> free_;          // changed under mutex_
  std::mutex mutex_;

  std::mutex watch_mutex_;
  std::condition_variable watch_wakes_;
  std::atomic<bool> watch_sleeps_ = false;  // changed under watch_mutex_
  bool stopping_ = false;                   // guarded by watch_mutex_
  std::thread watch_;
};

}  // namespace prism::rpc
