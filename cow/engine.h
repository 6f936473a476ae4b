// The engine: nodes, chunks and journal of one store, and the checkpoint that ties them together.
//
// A checkpoint takes a cut (microseconds, with the gate held exclusively), freezes everything that
// changed, and writes nodes, reference counts, chunk rows, the owner's rows and the journal
// position in one atomic batch. A crash therefore leaves the state of one checkpoint plus a journal
// that repeats, in order, what came after it. docs/DESIGN.md has the crash argument.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cow/chunk_table.h"
#include "cow/journal.h"
#include "cow/kv.h"
#include "cow/node_store.h"
#include "cow/ref_table.h"
#include "cow/segment_store.h"
#include "cow/tree.h"
#include "fs/base/fair_shared_mutex.h"

namespace prism::cow {

struct EngineOptions {
  std::string directory;
  Codec codec = Codec::kLz4;
  uint64_t node_cache_bytes = uint64_t{512} << 20;
  uint64_t chunk_cache_bytes = uint64_t{512} << 20;
  uint32_t checkpoint_interval_ms = 10000;
};

class OverlayKv;

// Whoever keeps the roots of the trees: its rows are part of every checkpoint.
class RootOwner {
 public:
  virtual ~RootOwner() = default;
  virtual void Freeze() = 0;  // gate held exclusively: remember what to write
  virtual void Write(KvBatch& batch) = 0;
  virtual Status ReplayRecord(uint8_t type, std::string_view payload, Lsn lsn) = 0;
};

class Engine {
 public:
  // Locks the directory and reads what the last checkpoint wrote; the owner then reads its rows,
  // and calls Recover.
  static Outcome<std::unique_ptr<Engine>> Open(const EngineOptions& options);
  // To look at what a server would find here: what Recover replays goes to `tables` alone, and no
  // file is changed. REQUIRES: the caller has locked the directory. Nothing else is to be changed.
  static Outcome<std::unique_ptr<Engine>> OpenToLook(const EngineOptions& options,
                                                     std::unique_ptr<OverlayKv> tables);
  ~Engine();  // a last checkpoint, unless the engine has failed

  // Replays the journal through the owner, writes a checkpoint if there was anything to replay, and
  // starts the background threads.
  Outcome<void> Recover(RootOwner& owner);

  // Held shared by everything that changes state, exclusively for the cut. Never taken twice by one
  // thread. LOCK ORDER: catalog, volume, gate, then the leaf locks of nodes, references and chunks.
  FairSharedMutex& gate() { return gate_; }

  Kv& kv() { return *kv_; }
  Forest& forest() { return forest_; }
  ChunkTable& chunks() { return chunks_; }
  Journal& journal() { return journal_; }
  RefTable& references() { return references_; }
  NodeStore& nodes() { return nodes_; }

  // Before changing anything, without any lock: waits while too much awaits the next checkpoint.
  // kIo: the engine has failed and accepts no changes any more.
  Status Admit();
  bool failed() const { return failed_.load(std::memory_order_relaxed); }

  // Hands over one reference to a tree that nobody needs any more. REQUIRES: the gate.
  void AddDead(NodeId root);
  size_t dead_count() const;

  Status Checkpoint();
  // Until nothing is dead any more, and a checkpoint has recorded it.
  Status Drain();
  // Runs `f` while no checkpoint runs.
  template <typename F>
  auto WithoutCheckpoint(F&& f) {
    std::lock_guard lock(checkpoint_mutex_);
    return f();
  }
  uint64_t stored_bytes() const { return segments_.used_bytes(); }
  uint64_t checkpoint_count() const { return checkpoint_count_; }

 private:
  Engine(const EngineOptions& options, std::unique_ptr<Kv> kv, bool read_only);
  Outcome<void> Load();
  Status WriteCheckpoint();
  std::string EncodeSuperblock(Lsn cut) const;
  bool CheckpointDue();
  void RunCheckpoints();
  void RunReaper();
  bool ReapSome();

  const EngineOptions options_;
  const bool read_only_;
  int lock_descriptor_ = -1;
  std::unique_ptr<Kv> kv_;
  FairSharedMutex gate_;
  SegmentStore segments_;
  Journal journal_;
  NodeStore nodes_;
  RefTable references_;
  ChunkTable chunks_;
  Forest forest_;
  RootOwner* owner_ = nullptr;

  mutable std::mutex dead_mutex_;
  std::vector<NodeId> dead_;  // a stack, so that it stays small; guarded by dead_mutex_

  std::mutex checkpoint_mutex_;
  std::atomic<uint64_t> checkpoint_count_{0};
  Lsn cut_ = 0;  // of the last checkpoint; guarded by checkpoint_mutex_
  std::atomic<Lsn> last_cut_{0};
  std::atomic<bool> reaped_since_cut_{false};
  std::atomic<bool> failed_{false};

  std::mutex wake_mutex_;
  std::condition_variable wake_checkpoints_;
  std::condition_variable wake_reaper_;
  std::condition_variable admitted_;
  bool stopping_ = false;  // guarded by wake_mutex_
  std::thread checkpoint_thread_;
  std::thread reaper_thread_;
};

}  // namespace prism::cow
