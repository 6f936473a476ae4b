// What other threads want a server's keeper thread to do.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/doorbell.h"

namespace prism::vrpc {

// THREADS: any.
class Inbox {
 public:
  using Task = std::function<void()>;

  static Outcome<std::shared_ptr<Inbox>> Make() {
    PRISM_ASSIGN(UniqueFd bell, MakeDoorbell());
    return std::shared_ptr<Inbox>(new Inbox(std::move(bell)));
  }
  // An eventfd, rung when tasks wait.
  int fd() const { return bell_.get(); }
  // False: closed; the task is forgotten.
  bool Post(Task task) {
    std::lock_guard lock(mutex_);
    if (closed_) return false;
    tasks_.push_back(std::move(task));
    if (tasks_.size() == 1) Ring(bell_.get());
    return true;
  }
  // All that wait; with `close`, the last that ever do.
  std::vector<Task> Take(bool close = false) {
    std::lock_guard lock(mutex_);
    closed_ = closed_ || close;
    TryClear(bell_.get());
    return std::exchange(tasks_, {});
  }

 private:
  explicit Inbox(UniqueFd bell) : bell_(std::move(bell)) {}

  const UniqueFd bell_;
  std::mutex mutex_;
  std::vector<Task> tasks_;
  bool closed_ = false;
};

}  // namespace prism::vrpc
