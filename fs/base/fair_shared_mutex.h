// A shared mutex whose writers do not starve: glibc's lets new readers in while a writer waits.
#pragma once

#include <atomic>
#include <mutex>
#include <shared_mutex>

namespace prism {

// Meets the SharedMutex requirements that std::shared_lock and std::unique_lock need.
// A thread must not take it shared twice: a writer in between would wait for ever.
class FairSharedMutex {
 public:
  void lock() {
    waiting_.fetch_add(1, std::memory_order_relaxed);
    entry_.lock();
    mutex_.lock();
  }
  void unlock() {
    mutex_.unlock();
    waiting_.fetch_sub(1, std::memory_order_relaxed);
    entry_.unlock();
  }
  void lock_shared() {
    // The flag is a hint for fairness only; mutex_ alone excludes.
    if (waiting_.load(std::memory_order_relaxed) > 0) std::lock_guard<std::mutex> queue(entry_);
    mutex_.lock_shared();
  }
  void unlock_shared() { mutex_.unlock_shared(); }

 private:
  std::atomic<int> waiting_{0};
  std::mutex entry_;
  std::shared_mutex mutex_;
};

}  // namespace prism
