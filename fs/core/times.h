// The server's clock, and access times under relatime.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/contract/attr.h"

namespace prism::fs {

Timespec Now();  // CLOCK_REALTIME

// mount(8), relatime: reading changes atime if it is not after mtime or ctime, or a day old.
bool AtimeIsDue(const Attr& attr, const Timespec& now);

// Access times that wait in memory for the next flush. Reading must not write to the volume, so
// they are kept beside it; when too many wait, further ones are left out, as relatime allows.
//
// THREADS: any. Note is called under a view of the volume, Forget under its transaction: setting
// atime by utimensat then never loses against an older reading.
class LazyTimes {
 public:
  void Note(InodeId ino, const Timespec& atime);
  void Forget(InodeId ino);
  // Raises attr.atime to the one that waits.
  void Overlay(Attr& attr) const;
  // Up to `max` of those that wait, left in place.
  std::vector<std::pair<InodeId, Timespec>> Some(size_t max) const;
  // Removes an entry if it is still this one.
  void Written(InodeId ino, const Timespec& atime);
  bool empty() const { return count_.load(std::memory_order_acquire) == 0; }
  void Clear();

 private:
  static constexpr size_t kShards = 8;
  static constexpr size_t kMax = 64 * 1024;  // entries

  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<InodeId, Timespec> times;
  };
  Shard& ShardOf(InodeId ino) { return shards_[ino % kShards]; }
  const Shard& ShardOf(InodeId ino) const { return shards_[ino % kShards]; }

  std::array<Shard, kShards> shards_;
  std::atomic<size_t> count_{0};
};

}  // namespace prism::fs
