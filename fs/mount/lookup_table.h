// How many references the kernel holds to each inode: the only state that a mount keeps per file.
//
// Every entry that a reply gives to the kernel (lookup, create, link, readdirplus) is one
// reference; FORGET gives them back. The count matters for one thing only: an inode that has lost
// its last link must live on (open-unlinked files) until the kernel has forgotten it, and then be
// released (HOLDS in fs/contract/file_system.h). So an entry also remembers "orphaned".
//
// An inode may be orphaned while no reference is counted, yet a reply that is being served right
// now is about to give it to the kernel. MarkOrphaned then leaves a mark with count 0 and says so;
// the caller waits until all requests that were in service have ended (Workers' quiescence, see
// invalidator.h) and asks TakeUnused, which only answers true if still nobody came.
//
// THREADS: every method from any thread. The table is cut into shards with a mutex each, 16 bytes
// per slot, open addressing: no allocation except when a shard doubles.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "fs/base/types.h"

namespace prism::mount {

class LookupTable {
 public:
  LookupTable();
  LookupTable(const LookupTable&) = delete;
  LookupTable& operator=(const LookupTable&) = delete;

  // The kernel gets one more reference. The root is never counted: it is never forgotten while the
  // mount lives.
  void Add(InodeId ino);

  // The kernel gives `references` back. True: that was the last one of an orphaned inode; the
  // caller releases it. More references than counted are treated as all.
  [[nodiscard]] bool Forget(InodeId ino, uint64_t references);

  // The inode has lost its last link. True: no reference is counted; see above.
  [[nodiscard]] bool MarkOrphaned(InodeId ino);

  // True: the mark is still without a reference and has been taken away; the caller releases.
  [[nodiscard]] bool TakeUnused(InodeId ino);

  // The inode is opened for writing, by a kernel that knows it.
  void MarkWritable(InodeId ino);

  // The inodes that the kernel knows now, in no order (those added meanwhile may be missing).
  std::vector<InodeId> Inodes() const;
  // Those of them that have been opened for writing.
  std::vector<InodeId> Writable() const;
  size_t size() const;

 private:
  struct Slot {
    InodeId ino = 0;  // 0: free
    uint64_t orphaned : 1 = 0;
    uint64_t writable : 1 = 0;
    uint64_t count : 62 = 0;
  };
  struct alignas(64) Shard {
    mutable std::mutex mutex;
    std::vector<Slot> slots;  // a power of two
    size_t used = 0;
  };

  Shard& ShardOf(InodeId ino);
  // The slot of ino, or the free one where it belongs.
  static size_t Find(const Shard& shard, InodeId ino);
  static Slot& Insert(Shard& shard, InodeId ino);
  static void Erase(Shard& shard, size_t index);
  static void Grow(Shard& shard);

  static constexpr size_t kShards = 16;
  std::array<Shard, kShards> shards_;
};

}  // namespace prism::mount
