// The threads that serve the queues of all lanes.
//
// Every queue's doorbell is in one epoll set, one-shot: whichever worker it wakes has the queue to
// itself until it arms the doorbell again. A worker stays with a busy queue, but looks after a
// bounded time whether others wait, and if so goes to the end of the line.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/lane.h"
#include "vrpc/spin.h"

namespace prism::vrpc {

class WorkerPool {
 public:
  static Outcome<std::unique_ptr<WorkerPool>> Start(uint32_t workers);
  ~WorkerPool();  // Stop
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Serves this lane from now on.
  Outcome<void> Add(std::shared_ptr<Lane> lane);
  // Forgets it. A worker that is with one of its queues finishes its request; the last to let go
  // destroys the lane. nullptr: no such session.
  std::shared_ptr<Lane> Remove(uint64_t session);
  std::shared_ptr<Lane> Find(uint64_t session) const;

  // Workers finish the requests they are at; then they are gone. Idempotent.
  void Stop();

 private:
  WorkerPool() = default;
  void Work();
  // Serves a queue until it is empty, or it is another one's turn: then true, and `next` is what
  // the other one's doorbell reported.
  bool ServeQueue(Lane& lane, uint32_t queue, Workspace& workspace, epoll_event& next);
  bool OtherWaits(epoll_event& next) const;
  void Arm(const Lane& lane, uint32_t queue, uint32_t extra_events) const;

  UniqueFd epoll_;
  UniqueFd stop_;
  SpinGate gate_;
  std::atomic<int> idle_ = 0;  // workers asleep in epoll_wait
  std::atomic<bool> stopping_ = false;
  mutable std::mutex mutex_;
  std::map<uint64_t, std::shared_ptr<Lane>> lanes_;  // by session
  std::vector<std::thread> threads_;
};

}  // namespace prism::vrpc
