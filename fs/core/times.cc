#include "fs/core/times.h"

#include <time.h>

namespace prism::fs {

Timespec Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return Timespec{now.tv_sec, static_cast<uint32_t>(now.tv_nsec)};
}

bool AtimeIsDue(const Attr& attr, const Timespec& now) {
  constexpr int64_t kDaySec = 24 * 60 * 60;
  return attr.atime <= attr.mtime || attr.atime <= attr.ctime ||
         now.sec - attr.atime.sec >= kDaySec;
}

void LazyTimes::Note(InodeId ino, const Timespec& atime) {
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.times.find(ino);
  if (found != shard.times.end()) {
    if (found->second < atime) found->second = atime;
    return;
  }
  if (count_.load(std::memory_order_relaxed) >= kMax) return;
  shard.times.emplace(ino, atime);
  count_.fetch_add(1, std::memory_order_release);
}

void LazyTimes::Forget(InodeId ino) {
  if (empty()) return;
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  if (shard.times.erase(ino) > 0) count_.fetch_sub(1, std::memory_order_release);
}

void LazyTimes::Overlay(Attr& attr) const {
  if (empty()) return;
  const Shard& shard = ShardOf(attr.ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.times.find(attr.ino);
  if (found != shard.times.end() && attr.atime < found->second) attr.atime = found->second;
}

std::vector<std::pair<InodeId, Timespec>> LazyTimes::Some(size_t max) const {
  std::vector<std::pair<InodeId, Timespec>> some;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (const auto& entry : shard.times) {
      if (some.size() >= max) return some;
      some.push_back(entry);
    }
  }
  return some;
}

void LazyTimes::Written(InodeId ino, const Timespec& atime) {
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  auto found = shard.times.find(ino);
  if (found == shard.times.end() || found->second != atime) return;
  shard.times.erase(found);
  count_.fetch_sub(1, std::memory_order_release);
}

void LazyTimes::Clear() {
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    count_.fetch_sub(shard.times.size(), std::memory_order_release);
    shard.times.clear();
  }
}

}  // namespace prism::fs
