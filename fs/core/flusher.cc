#include "fs/core/flusher.h"

#include <utility>

namespace prism::fs {

Flusher::Flusher(size_t threads) {
  while (threads_.size() < threads) threads_.emplace_back([this] { Run(); });
}

Flusher::~Flusher() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Flusher::TryRun(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (idle_ == 0) return false;
    --idle_;
    tasks_.push_back(std::move(task));
  }
  wake_.notify_one();
  return true;
}

void Flusher::Run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    std::function<void()> task = std::move(tasks_.back());
    tasks_.pop_back();
    lock.unlock();
    task();
    task = nullptr;  // what it keeps alive goes without the lock
    lock.lock();
  }
}

}  // namespace prism::fs
