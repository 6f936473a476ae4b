// The client's side of one lane, without the operations: borrowing queues, exchanging messages,
// waiting, events and death.
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
#include "vrpc/handshake.h"
#include "vrpc/messages.h"
#include "vrpc/ring.h"
#include "vrpc/segment.h"
#include "vrpc/spin.h"

namespace prism::vrpc {

class Channel {
 public:
  // socket: greeted. The segment and what it says have been checked.
  Channel(UniqueFd socket, Segment segment, LaneFds fds, uint32_t spin_us_max);
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  // A queue in the hands of one thread, for one call at a time.
  class Borrowed {
   public:
    // Check ok() first: kDisconnected.
    explicit Borrowed(Channel& channel) : channel_(channel), index_(channel.Borrow()) {}
    ~Borrowed() {
      if (ok()) channel_.GiveBack(static_cast<uint32_t>(index_));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;

    bool ok() const { return index_ >= 0; }
    // Where a request's payload goes, and a reply's payload is found.
    std::span<std::byte> payload() const {
      return channel_.segment_.payload(static_cast<uint32_t>(index_), kSlot);
    }

    struct Reply {
      std::string_view body;  // private memory, until this thread's next Exchange
      uint32_t payload_bytes = 0;
    };
    // Sends one request and waits for its reply. Errors: the reply's own, kDisconnected, kProtocol
    // (the server's bytes make no sense; the lane is over).
    Result<Reply> Exchange(Op op, const fs::Caller& caller, std::string_view body,
                           uint32_t payload_bytes);

   private:
    Channel& channel_;
    int index_;
  };

  bool dead() const { return dead_.load(std::memory_order_acquire); }
  // Ends the lane from this side.
  void Close();
  // The server broke the protocol.
  void Break(const char* reason);

  void SetListener(fs::EventListener* listener);
  void SetDisconnectCallback(std::function<void()> callback);

  // The body of the watcher thread: events, until the lane ends.
  void Watch();

  uint32_t payload_bytes_max() const { return segment_.geometry().payload_bytes; }

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
  void Die();
  void DrainEvents();
  void Deliver(const fs::Event& event);

  UniqueFd socket_;
  Segment segment_;
  LaneFds fds_;
  const uint64_t spin_max_ns_;
  std::vector<Queue> queues_;
  std::array<SpinBudget, kOpCount> service_times_;
  Backoff while_server_runs_;
  Backoff while_server_wakes_;
  std::atomic<bool> dead_ = false;
  std::atomic<bool> closed_here_ = false;

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
