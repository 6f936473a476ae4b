#include "vrpc/worker_pool.h"

#include <pthread.h>

#include <cerrno>

#include "vrpc/doorbell.h"

namespace prism::vrpc {
namespace {

// After this, a worker with a busy queue looks whether other queues wait.
constexpr uint32_t kTurnRequests = 64;
constexpr uint64_t kTurnNs = 200'000;

constexpr uint64_t kStopToken = 0;  // sessions are numbered from 1
uint64_t TokenOf(uint64_t session, uint32_t queue) { return session * kQueuesMax + queue; }

}  // namespace

Outcome<std::unique_ptr<WorkerPool>> WorkerPool::Start(uint32_t workers) {
  std::unique_ptr<WorkerPool> pool(new WorkerPool);
  pool->epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!pool->epoll_) return ExplainErrno(errno, "cannot make an epoll set");
  PRISM_ASSIGN(pool->stop_, MakeDoorbell());
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kStopToken}};
  if (::epoll_ctl(pool->epoll_.get(), EPOLL_CTL_ADD, pool->stop_.get(), &event) != 0)
    return ExplainErrno(errno, "cannot watch an eventfd");
  for (uint32_t i = 0; i < workers; ++i) {
    pool->threads_.emplace_back([raw = pool.get()] { raw->Work(); });
    ::pthread_setname_np(pool->threads_.back().native_handle(), "vrpc-worker");
  }
  return pool;
}

WorkerPool::~WorkerPool() { Stop(); }

void WorkerPool::Stop() {
  stopping_ = true;
  Ring(stop_.get());  // never reset: every worker sees it
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

Outcome<void> WorkerPool::Add(std::shared_ptr<Lane> lane) {
  {
    std::lock_guard lock(mutex_);
    lanes_[lane->session()] = lane;
  }
  for (uint32_t i = 0; i < lane->queues(); ++i) {
    epoll_event event{.events = EPOLLIN | EPOLLONESHOT,
                      .data = {.u64 = TokenOf(lane->session(), i)}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, lane->doorbell(i), &event) != 0) {
      int error = errno;
      Remove(lane->session());
      return ExplainErrno(error, "cannot watch a doorbell");
    }
  }
  return {};
}

std::shared_ptr<Lane> WorkerPool::Remove(uint64_t session) {
  std::shared_ptr<Lane> lane;
  {
    std::lock_guard lock(mutex_);
    auto found = lanes_.find(session);
    if (found == lanes_.end()) return nullptr;
    lane = std::move(found->second);
    lanes_.erase(found);
  }
  // Closing would not do: the client has the same eventfds open, which keeps them in the set.
  for (uint32_t i = 0; i < lane->queues(); ++i)
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, lane->doorbell(i), nullptr);
  return lane;
}

std::shared_ptr<Lane> WorkerPool::Find(uint64_t session) const {
  std::lock_guard lock(mutex_);
  auto found = lanes_.find(session);
  return found == lanes_.end() ? nullptr : found->second;
}

void WorkerPool::Work() {
  Workspace workspace;
  epoll_event event{};
  bool have_event = false;
  while (!stopping_.load(std::memory_order_relaxed)) {
    if (!have_event) {
      idle_.fetch_add(1, std::memory_order_relaxed);
      int count = ::epoll_wait(epoll_.get(), &event, 1, -1);
      idle_.fetch_sub(1, std::memory_order_relaxed);
      if (count < 1) continue;
    }
    have_event = false;
    if (event.data.u64 == kStopToken) return;
    std::shared_ptr<Lane> lane = Find(event.data.u64 / kQueuesMax);
    if (lane == nullptr) continue;  // it went between its doorbell and now
    uint32_t queue = static_cast<uint32_t>(event.data.u64 % kQueuesMax);
    have_event = ServeQueue(*lane, queue, workspace, event);
  }
}

bool WorkerPool::ServeQueue(Lane& lane, uint32_t queue, Workspace& workspace, epoll_event& next) {
  TryClear(lane.doorbell(queue));
  lane.Enter(queue);
  uint32_t requests = 0;
  uint64_t turn_start_ns = NowNs();
  while (!stopping_.load(std::memory_order_relaxed)) {
    Lane::Served served = lane.ServeNext(queue, workspace);
    if (served == Lane::Served::kDead) return false;
    if (served == Lane::Served::kRequest) {
      if (++requests % kTurnRequests != 0 && NowNs() - turn_start_ns < kTurnNs) continue;
      turn_start_ns = NowNs();
      if (!OtherWaits(next)) continue;
      // An eventfd is always writable: armed for that too, this queue is ready again at once, and
      // stands behind those that are ready now.
      lane.Leave(queue);
      Arm(lane, queue, EPOLLOUT);
      return true;
    }
    if (lane.Poll(queue, gate_)) continue;
    if (!lane.PrepareSleep(queue)) continue;
    lane.Leave(queue);
    Arm(lane, queue, 0);
    return false;
  }
  return false;
}

bool WorkerPool::OtherWaits(epoll_event& next) const {
  if (idle_.load(std::memory_order_relaxed) > 0) return false;  // it has been woken for them
  return ::epoll_wait(epoll_.get(), &next, 1, 0) == 1;
}

void WorkerPool::Arm(const Lane& lane, uint32_t queue, uint32_t extra_events) const {
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT | extra_events,
                    .data = {.u64 = TokenOf(lane.session(), queue)}};
  // Fails only when the lane has been removed.
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, lane.doorbell(queue), &event);
}

}  // namespace prism::vrpc
