#include "server/nlm/callback_pool.h"

#include <algorithm>
#include <utility>

#include "server/rpc/portmap.h"

namespace prism::nlm {

CallbackPool::CallbackPool(const CallbackOptions& options) : options_(options) {
  for (unsigned i = 0; i < options_.threads; ++i) threads_.emplace_back([this] { Serve(); });
}

CallbackPool::~CallbackPool() { Stop(); }

void CallbackPool::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    waiting_.clear();
  }
  changed_.notify_all();
  for (std::thread& thread : threads_)
    if (thread.joinable()) thread.join();
}

bool CallbackPool::Run(const rpc::PeerAddress& peer, std::chrono::milliseconds after,
                       std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    if (stopping_ || waiting_.size() >= kWaitingMax) return false;
    waiting_.emplace(std::chrono::steady_clock::now() + after, Task{peer.ip, std::move(task)});
  }
  changed_.notify_all();
  return true;
}

std::multimap<CallbackPool::Time, CallbackPool::Task>::iterator CallbackPool::Next() {
  const Time now = std::chrono::steady_clock::now();
  for (auto task = waiting_.begin(); task != waiting_.end() && task->first <= now; ++task)
    if (std::find(running_.begin(), running_.end(), task->second.ip) == running_.end()) return task;
  return waiting_.end();
}

void CallbackPool::Serve() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    auto next = Next();
    if (next == waiting_.end()) {
      // What is due already waits for its address; the end of that call wakes us.
      auto later = waiting_.upper_bound(std::chrono::steady_clock::now());
      if (later == waiting_.end())
        changed_.wait(lock);
      else
        changed_.wait_until(lock, Time(later->first));
      continue;
    }
    Task task = std::move(next->second);
    waiting_.erase(next);
    running_.push_back(task.ip);
    lock.unlock();
    task.run();
    task.run = nullptr;
    lock.lock();
    running_.erase(std::find(running_.begin(), running_.end(), task.ip));
    changed_.notify_all();
  }
}

Result<std::vector<std::byte>> CallbackPool::Call(const rpc::PeerAddress& peer,
                                                  const rpc::RemoteProcedure& procedure,
                                                  std::span<const std::byte> args) const {
  const rpc::Deadline deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.timeout_ms);
  rpc::PeerAddress address = peer;
  address.port = options_.portmap_port;
  PRISM_ASSIGN(address.port,
               rpc::PortmapGetPort(address, procedure.program, procedure.version, deadline));
  return rpc::CallRemote(address, procedure, args, deadline);
}

}  // namespace prism::nlm
