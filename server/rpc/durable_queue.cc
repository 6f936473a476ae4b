#include "server/rpc/durable_queue.h"

#include <algorithm>

namespace prism::rpc {

bool DurableQueue::Add(PendingReply reply) {
  counters_.durable_replies.Add();
  std::lock_guard lock(mutex_);
  waiting_.push_back(std::move(reply));
  return !std::exchange(leading_, true);
}

void DurableQueue::Lead() {
  std::vector<PendingReply> replies;
  std::unique_lock lock(mutex_);
  while (!waiting_.empty()) {
    replies.swap(waiting_);
    lock.unlock();
    uint64_t mark = 0;
    for (const PendingReply& reply : replies) mark = std::max(mark, reply.mark);
    counters_.durable_waits.Add();
    const Status status = wait_(mark);
    if (!status) counters_.durable_failures.Add();
    deliver_(replies, status);
    replies.clear();
    lock.lock();
  }
  leading_ = false;
}

}  // namespace prism::rpc
