// The client's side of one session, without the operations: borrowing queues, exchanging messages,
// waiting, events and the end.
//
// Where the endpoint has eventfds, waiters sleep on them; else they poll, ever more slowly. Either
// way the lane's epoch tells that the server has ended the session, and the lifeline, where there
// is one, that the session has ended.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"
#include "vrpc/endpoint.h"
#include "vrpc/messages.h"
#include "vrpc/ring.h"
#include "vrpc/segment.h"
#include "vrpc/spin.h"

namespace prism::vrpc {

class Session {
 public:
  struct Grant {
    LaneMemory lane;      // of the endpoint's
    uint32_t index = 0;   // the lane's
    uint32_t queues = 0;  // that the server serves; 1 or more, at most those of the lane
    uint64_t epoch = 0;   // of the lane, for as long as the session lasts
  };
  // What the server granted has been checked. `wake` is an eventfd of its own.
  Session(std::unique_ptr<Endpoint> endpoint, const Grant& grant, UniqueFd wake,
          uint32_t spin_us_max);
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // A queue in the hands of one thread, for one call at a time.
  class Borrowed {
   public:
    // Check ok() first: kDisconnected.
    explicit Borrowed(Session& session) : session_(session), index_(session.Borrow()) {}
    ~Borrowed() {
      if (ok()) session_.GiveBack(static_cast<uint32_t>(index_));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    bool ok() const { return index_ >= 0; }
    // Where a request's payload goes, and a reply's payload is found.
    std::span<std::byte> payload() const {
      return session_.lane_.payload(static_cast<uint32_t>(index_), kSlot);
    }

    struct Reply {
      std::string_view body;  // private memory, until this thread's next Exchange
      uint32_t payload_bytes = 0;
    };
    // Sends one request and waits for its reply. Errors: the reply's own, kDisconnected, kProtocol
    // (the server's bytes make no sense; the session is over).
    Result<Reply> Exchange(Op op, const fs::Caller& caller, std::string_view body,
                           uint32_t payload_bytes);

   private:
    Session& session_;
    int index_;
  };

  bool dead() const { return dead_.load(std::memory_order_acquire); }
  // Ends the session from this side, and says good-bye; waits for the answer only where no end of
  // the channel tells the server too.
  void Close();
  // The server broke the protocol.
  void Break(const char* reason);

  void SetListener(fs::EventListener* listener);
  void SetDisconnectCallback(std::function<void()> callback);

  // The body of the watcher thread: events, until the session ends.
  void Watch();

  // See Endpoint.
  bool memory_is_pages() const { return endpoint_->memory_is_pages(); }
  uint32_t payload_bytes_max() const { return lane_.geometry().payload_bytes; }

 private:
  // This client has one call under way per queue, so one slot is enough.
  static constexpr uint32_t kSlot = 0;

  struct Queue {
    Producer<SubmissionEntry> submissions;
    Consumer<CompletionEntry> completions;
    uint64_t next_id = 1;
    uint64_t last_reply_ns = 0;
  };

  int Borrow();
  int TryBorrow();
  void GiveBack(uint32_t index);
  Result<CompletionEntry> Await(uint32_t index, Op op, bool rang);
  Spun PollForReply(Queue& queue, Op op, bool rang);
  bool CheckCompletion(const CompletionEntry& entry) const;
  int event_fd(uint32_t k) const { return endpoint_->EventFd(first_vector_ + k); }
  bool Ended() const;
  void AwaitCompletion(Queue& queue, uint32_t index, uint32_t& pause_us);
  void AwaitEvents();
  void WakeWatcher();
  void Die();
  void DrainEvents();
  void Deliver(const fs::Event& event);

  const std::unique_ptr<Endpoint> endpoint_;
  const LaneMemory lane_;
  const uint32_t first_vector_;
  const uint64_t epoch_;
  const bool polls_;     // there are no eventfds
  const UniqueFd wake_;  // rings the watcher
  const uint64_t spin_max_ns_;
  std::vector<Queue> queues_;
  std::array<SpinBudget, kOpCount> service_times_;
  Backoff while_server_runs_;
  Backoff while_server_wakes_;
  std::atomic<bool> dead_ = false;
  std::atomic<bool> closed_here_ = false;
  std::atomic<bool> watcher_woken_ = false;

  // Bit i: queue i is free. The lowest free one is taken, so that few queues stay warm and the
  // server's poller is at the right one.
  std::atomic<uint64_t> free_queues_;
  std::atomic<uint32_t> waiters_ = 0;
  std::mutex waiters_mutex_;
  std::condition_variable queue_freed_;

  Consumer<EventSlot> events_;
  uint32_t lost_seen_ = 0;
  std::mutex listener_mutex_;  // held while the listener runs
  fs::EventListener* listener_ = nullptr;
  std::mutex callback_mutex_;
  std::function<void()> callback_;
  bool callback_due_ = false;  // the end has come by itself
};

}  // namespace prism::vrpc
