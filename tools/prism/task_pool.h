// A stack of tasks and a few threads that empty it; tasks may push further ones.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/failure.h"

namespace prism::tool {

// Last in, first out, so that a walk goes deep first and holds few directories open.
// THREADS: Push and Busy from within tasks; Run once.
template <typename Task>
class TaskPool {
 public:
  void Push(Task task) {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
    wake_.notify_one();
  }

  // True when every thread has plenty to do: better do a further piece of work at once than push
  // it.
  bool Busy() {
    std::lock_guard lock(mutex_);
    return tasks_.size() >= kEnough;
  }

  // Runs until nothing is left, or until a task fails; returns the first failure.
  Outcome<void> Run(unsigned threads, const std::function<Outcome<void>(Task&)>& handle) {
    std::vector<std::thread> helpers;
    for (unsigned i = 1; i < threads; ++i) helpers.emplace_back([&] { Work(handle); });
    Work(handle);
    for (std::thread& helper : helpers) helper.join();
    tasks_.clear();
    return std::move(outcome_);
  }

 private:
  static constexpr size_t kEnough = 64;

  void Work(const std::function<Outcome<void>(Task&)>& handle) {
    std::unique_lock lock(mutex_);
    while (true) {
      wake_.wait(lock, [&] { return !outcome_ || !tasks_.empty() || running_ == 0; });
      if (!outcome_ || tasks_.empty()) break;
      Task task = std::move(tasks_.back());
      tasks_.pop_back();
      ++running_;
      lock.unlock();
      Outcome<void> outcome = handle(task);
      {
        Task done = std::move(task);  // what it holds is let go outside of the lock
      }
      lock.lock();
      --running_;
      if (!outcome && outcome_) outcome_ = std::move(outcome);
    }
    wake_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Task> tasks_;
  unsigned running_ = 0;
  Outcome<void> outcome_;
};

}  // namespace prism::tool
