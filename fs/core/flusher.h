// Threads that save file data early, while its writers go on.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace prism::fs {

// Nothing ever waits here for its turn: who finds all threads busy does the work itself, or leaves
// it for later. THREADS: any.
class Flusher {
 public:
  explicit Flusher(size_t threads);
  ~Flusher();  // when all that has begun is done
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;

  // False: no thread is free, and nothing has happened.
  bool TryRun(std::function<void()> task);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::function<void()>> tasks_;  // guarded by mutex_: of threads about to wake
  size_t idle_ = 0;                           // guarded by mutex_: without one of these
  bool stopping_ = false;                     // guarded by mutex_
  std::vector<std::thread> threads_;
};

}  // namespace prism::fs
