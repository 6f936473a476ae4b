// What waits in memory about one file: its unsaved bytes, and the attributes that go with them.
//
// A state exists only while there is something to say or somebody works on the file's data. The
// attributes in it are absolute values laid over the stored record, never differences: reading a
// record before or after the flush that saved them then gives the same result.
#pragma once

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>
#include <vector>

#include "fs/core/dirty_block.h"
#include "fs/core/dirty_budget.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

using BlockMap = std::map<uint64_t, std::unique_ptr<DirtyBlock>>;  // by block number

struct FileState {
  explicit FileState(InodeId number) : ino(number) {}

  const InodeId ino;

  // steady_clock: when it began to wait. For FlushAged alone.
  std::atomic<std::chrono::steady_clock::time_point> dirty_since{std::chrono::steady_clock::now()};

  // Serialises everything that changes the file's stored body: flush, truncation, punching,
  // sharing. Its pieces cannot change, nor their chunks go, while it is held.
  std::mutex flush_lock;

  std::shared_mutex data_lock;  // of what follows; shared to read the file, exclusive to write
  BlockMap active;              // newest
  BlockMap flushing;            // being saved: changed by the holder of flush_lock alone
  size_t full_blocks = 0;       // of active, about: Truncate does not tell
  bool dead = false;            // no longer in the table: look again. Set under both locks
  uint64_t charged = 0;         // what this state has charged to the budget

  std::atomic<bool> flushing_early{false};

  mutable std::mutex attr_lock;  // a leaf; of what follows. Changed only under a view of the volume
  bool has_size = false;
  uint64_t size = 0;    // if has_size
  uint64_t change = 0;  // mtime and ctime hold if it is beyond the record's
  Timespec mtime;
  Timespec ctime;
  uint64_t unsaved_bytes = 0;  // in active and flushing, for used_bytes
  uint64_t expected_used = 0;  // what used_bytes shows beyond what is stored
  // Of the volume's quota, for what is unsaved; 0 without a quota. Changed under attr_lock.
  std::atomic<uint64_t> reserved{0};

  // Lays the waiting attributes over a stored record.
  void Overlay(InodeRecord& record) const;
};

// What a state charges beside its blocks.
inline constexpr uint64_t kStateBytes = 512;

// The states of one volume. THREADS: any.
class FileTable {
 public:
  explicit FileTable(DirtyBudget& budget) : budget_(budget) {}
  ~FileTable();

  std::shared_ptr<FileState> Find(InodeId ino) const;
  std::shared_ptr<FileState> FindOrMake(InodeId ino);
  // Takes a state that has nothing more to say out of the table and marks it dead. REQUIRES: its
  // flush_lock and its data_lock, exclusively: who holds either keeps it alive.
  void Remove(FileState& state);
  void Overlay(InodeRecord& record) const;
  // Those that became dirty at or before `time`.
  std::vector<std::shared_ptr<FileState>> DirtyBefore(std::chrono::steady_clock::time_point time);

  // Changes what `state` charges to the budget. REQUIRES: data_lock exclusively.
  void Charge(FileState& state, int64_t change);
  // For the volume's totals. REQUIRES: not state.attr_lock.
  void ExpectUsed(FileState& state, uint64_t bytes);
  uint64_t expected_used() const { return expected_used_.load(std::memory_order_relaxed); }
  // Takes `bytes` more of what a quota leaves, unless all reservations would then exceed `room`.
  // Several writers may ask at once. REQUIRES: not state.attr_lock.
  bool Reserve(FileState& state, uint64_t bytes, uint64_t room);
  // What `state` needs now: not more than it has.
  void KeepReserved(FileState& state, uint64_t bytes);
  uint64_t reserved() const { return reserved_.load(std::memory_order_relaxed); }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kShards = 16;
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<InodeId, std::shared_ptr<FileState>> states;
  };

  DirtyBudget& budget_;
  std::array<Shard, kShards> shards_;
  std::atomic<size_t> count_{0};
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> expected_used_{0};
  std::atomic<uint64_t> reserved_{0};
};

}  // namespace prism::fs
