// Lets many writers of file data pass, until somebody stops them all.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace prism::fs {

// Unlike a std::shared_mutex, whose waiting writer can starve behind a stream of readers, a Stop
// holds back those who come after it. Several stops may overlap. THREADS: any.
class DataBarrier {
 public:
  class Pass {
   public:
    explicit Pass(DataBarrier& barrier) : barrier_(barrier) { barrier_.Enter(); }
    ~Pass() { barrier_.Leave(); }
    Pass(const Pass&) = delete;
    Pass& operator=(const Pass&) = delete;

   private:
    DataBarrier& barrier_;
  };

  // Returns when no writer is inside; none enters until Resume.
  void Stop() {
    std::unique_lock lock(mutex_);
    ++stops_;
    changed_.wait(lock, [&] { return inside_ == 0; });
  }
  void Resume() {
    std::lock_guard lock(mutex_);
    if (--stops_ == 0) changed_.notify_all();
  }

 private:
  void Enter() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stops_ == 0; });
    ++inside_;
  }
  void Leave() {
    std::lock_guard lock(mutex_);
    if (--inside_ == 0 && stops_ > 0) changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  uint32_t stops_ = 0;
  uint32_t inside_ = 0;
};

}  // namespace prism::fs
