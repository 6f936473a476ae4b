// The server's side of one session on a lane: the lane's memory, its FileSystem, and the checks of
// what the client writes.
//
// THREADS: a queue is served by one thread at a time (the worker pool's one-shot arming sees to
// it); everything else is for any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"
#include "vrpc/channel.h"
#include "vrpc/operations.h"
#include "vrpc/ring.h"
#include "vrpc/server.h"
#include "vrpc/spin.h"

namespace prism::vrpc {

// Private memory of one worker, for one request at a time.
struct Workspace {
  std::string request;
  std::string reply;
  std::string scratch;
  uint32_t groups[fs::kGroupsMax];
};

class Lane final : public fs::EventListener {
 public:
  struct Origin {
    uint64_t session = 0;  // never used again by this server
    std::string volume;
    bool importing = false;
    bool barriers = false;  // its client answers them
    uint64_t client = 0;
    std::string who;  // for the log: port, process, lane
  };
  // Called from any thread, once at most each; must not wait.
  struct Notices {
    std::function<void(std::string reason)> failed;  // the client has broken the protocol
    std::function<void()> gone;  // after the destruction: nobody is inside, the FileSystem released
  };
  // REQUIRES: reset rings. queues: that are served, at most the lane's. Listens to fs from now on.
  Lane(Origin origin, std::shared_ptr<Channel> channel, uint32_t index, uint32_t queues,
       std::shared_ptr<fs::FileSystem> fs, uint64_t spin_max_ns, Notices notices);
  // Releases the FileSystem.
  ~Lane() override;

  uint64_t session() const { return origin_.session; }
  const Origin& origin() const { return origin_; }
  uint32_t queues() const { return static_cast<uint32_t>(queues_.size()); }
  int doorbell(uint32_t queue) const {
    return channel_->doorbell(channel_->geometry().queue_vector(index_, queue));
  }
  // What is of the session.
  void Describe(LaneInfo& info) const;

  bool dead() const { return dead_.load(std::memory_order_relaxed); }
  // Ends the session: nothing more is served. The reason is told, once.
  void Fail(const std::string& reason);
  // The same without a complaint; false: it had ended already.
  bool Close() { return !dead_.exchange(true); }

  enum class Served : uint8_t { kNothing, kRequest, kDead };
  // Takes and serves one request of a queue, if there is one.
  Served ServeNext(uint32_t queue, Workspace& workspace);
  // See Consumer.
  bool PrepareSleep(uint32_t queue) { return queues_[queue]->submissions.PrepareSleep(); }
  // Around the time that a worker has a queue. The kernel hands queues from worker to worker; these
  // say so to the language.
  void Enter(uint32_t queue) {
    queues_[queue]->handovers.load(std::memory_order_acquire);
    queues_[queue]->submissions.Wake();
  }
  void Leave(uint32_t queue) { queues_[queue]->handovers.fetch_add(1, std::memory_order_release); }
  // Polls a drained queue through the gate, if that is likely to pay. True: it has work.
  bool Poll(uint32_t queue, SpinGate& gate);

  void OnEvent(const fs::Event& event) override;
  bool AnswersBarriers() const override { return origin_.barriers; }

 private:
  struct Queue {
    std::atomic<uint32_t> handovers = 0;
    Consumer<SubmissionEntry> submissions;
    Producer<CompletionEntry> completions;
    SpinBudget gaps;              // between a reply and the next request
    bool client_slept = false;    // when the latest reply came
    Spun polled = Spun::kDenied;  // after the latest reply
    Backoff while_client_runs;
    Backoff while_client_sleeps;
    // Written by the one server of the queue, read by Info.
    std::atomic<uint64_t> calls = 0;
    std::atomic<uint64_t> errors = 0;
    std::atomic<uint64_t> read_bytes = 0;
    std::atomic<uint64_t> written_bytes = 0;
  };

  void RingClient(uint32_t k) const {
    channel_->RingClient(channel_->geometry().handshake_vector(index_) + k);
  }
  bool CheckEntry(const SubmissionEntry& entry);
  Err Run(Workspace& workspace, ServeContext& context, uint16_t& op);
  bool Reply(uint32_t queue, const CompletionEntry& completion);
  void LearnGap(Queue& queue, uint32_t gap_ns);
  void Count(Queue& queue, uint16_t op, Err error, uint32_t in_bytes, uint32_t out_bytes);
  bool Tell(const fs::Event& event);
  void TellUntold();

  const Origin origin_;
  const int64_t connected_sec_;
  const std::shared_ptr<Channel> channel_;
  const uint32_t index_;
  const LaneMemory memory_;
  const uint64_t spin_max_ns_;
  const Notices notices_;
  std::shared_ptr<fs::FileSystem> fs_;
  std::vector<std::unique_ptr<Queue>> queues_;
  std::atomic<bool> dead_ = false;

  std::mutex events_mutex_;
  Producer<EventSlot> events_;
  uint32_t lost_ = 0;
  // Orphans and granted locks that found no room: unlike caches, they are not made good by dropping
  // everything.
  std::vector<fs::Event> untold_;
  std::atomic<bool> has_untold_ = false;
};

}  // namespace prism::vrpc
