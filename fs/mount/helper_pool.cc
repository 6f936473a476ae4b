#include "fs/mount/helper_pool.h"

#include "fs/base/check.h"
#include "fs/mount/worker.h"

namespace prism::mount {

HelperPool::HelperPool(unsigned threads) {
  for (unsigned i = 0; i < threads; ++i) threads_.emplace_back([this] { Serve(); });
}

HelperPool::~HelperPool() { Stop(); }

void HelperPool::Run(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    PRISM_CHECK(!stopping_);
    tasks_.push_back({Worker::ReplyDescriptor(), std::move(task)});
  }
  wake_.notify_one();
}

void HelperPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void HelperPool::Serve() {
  std::unique_lock lock(mutex_);
  while (true) {
    wake_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    Worker::SetReplyDescriptor(task.reply_fd);
    task.run();
    lock.lock();
  }
}

}  // namespace prism::mount
