#include "fs/mount/lookup_table.h"

#include "fs/base/check.h"

namespace prism::mount {
namespace {

constexpr size_t kFirstSlots = 64;

// Inode numbers are sequential: mix them so that shards and slots fill evenly.
uint64_t Mix(InodeId ino) {
  uint64_t x = ino * 0x9E3779B97F4A7C15ull;
  return x ^ (x >> 32);
}

}  // namespace

LookupTable::LookupTable() {
  for (Shard& shard : shards_) shard.slots.resize(kFirstSlots);
}

LookupTable::Shard& LookupTable::ShardOf(InodeId ino) { return shards_[Mix(ino) % kShards]; }

size_t LookupTable::Find(const Shard& shard, InodeId ino) {
  size_t mask = shard.slots.size() - 1;
  size_t index = (Mix(ino) / kShards) & mask;
  while (shard.slots[index].ino != 0 && shard.slots[index].ino != ino) index = (index + 1) & mask;
  return index;
}

void LookupTable::Grow(Shard& shard) {
  std::vector<Slot> old = std::move(shard.slots);
  shard.slots = std::vector<Slot>(old.size() * 2);
  for (const Slot& slot : old)
    if (slot.ino != 0) shard.slots[Find(shard, slot.ino)] = slot;
}

LookupTable::Slot& LookupTable::Insert(Shard& shard, InodeId ino) {
  size_t index = Find(shard, ino);
  if (shard.slots[index].ino == ino) return shard.slots[index];
  if ((shard.used + 1) * 4 > shard.slots.size() * 3) {
    Grow(shard);
    index = Find(shard, ino);
  }
  ++shard.used;
  shard.slots[index].ino = ino;
  return shard.slots[index];
}

// Moves later members of the probe sequence back, so that no tombstones are needed.
void LookupTable::Erase(Shard& shard, size_t index) {
  size_t mask = shard.slots.size() - 1;
  size_t hole = index;
  for (size_t next = (hole + 1) & mask; shard.slots[next].ino != 0; next = (next + 1) & mask) {
    size_t home = (Mix(shard.slots[next].ino) / kShards) & mask;
    bool may_move = ((next - home) & mask) >= ((next - hole) & mask);
    if (!may_move) continue;
    shard.slots[hole] = shard.slots[next];
    hole = next;
  }
  shard.slots[hole] = Slot{};
  --shard.used;
}

void LookupTable::Add(InodeId ino) {
  PRISM_CHECK(ino != 0);
  if (ino == kRootInode) return;
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  Slot& slot = Insert(shard, ino);
  slot.count = slot.count + 1;
}

bool LookupTable::Forget(InodeId ino, uint64_t references) {
  if (ino == kRootInode || ino == 0 || references == 0) return false;
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  size_t index = Find(shard, ino);
  Slot& slot = shard.slots[index];
  // A mark without references is the business of whoever got true from MarkOrphaned.
  if (slot.ino != ino || slot.count == 0) return false;
  if (slot.count > references) {
    slot.count = slot.count - references;
    return false;
  }
  bool orphaned = slot.orphaned;
  Erase(shard, index);
  return orphaned;
}

bool LookupTable::MarkOrphaned(InodeId ino) {
  PRISM_CHECK(ino != 0);
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  Slot& slot = Insert(shard, ino);
  slot.orphaned = 1;
  return slot.count == 0;
}

bool LookupTable::TakeUnused(InodeId ino) {
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  size_t index = Find(shard, ino);
  const Slot& slot = shard.slots[index];
  if (slot.ino != ino || !slot.orphaned || slot.count != 0) return false;
  Erase(shard, index);
  return true;
}

void LookupTable::MarkWritable(InodeId ino) {
  Shard& shard = ShardOf(ino);
  std::lock_guard lock(shard.mutex);
  Slot& slot = shard.slots[Find(shard, ino)];
  if (slot.ino == ino) slot.writable = 1;
}

std::vector<InodeId> LookupTable::Writable() const {
  std::vector<InodeId> result;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (const Slot& slot : shard.slots)
      if (slot.ino != 0 && slot.writable) result.push_back(slot.ino);
  }
  return result;
}

std::vector<InodeId> LookupTable::Inodes() const {
  std::vector<InodeId> result;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (const Slot& slot : shard.slots)
      if (slot.ino != 0) result.push_back(slot.ino);
  }
  return result;
}

size_t LookupTable::size() const {
  size_t total = 0;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    total += shard.used;
  }
  return total;
}

}  // namespace prism::mount
