// Threads for requests that wait for the disk, so that they do not keep the few session threads
// from serving the others, and so that many fsyncs can wait together for one commit.
//
// A request is finished on a helper by answering it there; the answer goes out through the
// descriptor by which the request came in, as the kernel demands.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace prism::mount {

class HelperPool {
 public:
  explicit HelperPool(unsigned threads);
  ~HelperPool();  // Stop

  // Runs `task` on a helper. To be called on a session thread, whose reply descriptor it inherits.
  // The queue is as long as the kernel has such requests waiting: one per process that calls.
  void Run(std::function<void()> task);

  // Finishes what was given and ends the threads. Nothing may be given afterwards.
  void Stop();

 private:
  struct Task {
    int reply_fd;
    std::function<void()> run;
  };
  void Serve();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Task> tasks_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace prism::mount
