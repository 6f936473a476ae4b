#include "cow/ref_table.h"

#include <spdlog/spdlog.h>

#include "fs/base/bytes.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

int64_t Lookup(const std::unordered_map<NodeId, int64_t>& map, NodeId id, int64_t otherwise) {
  auto it = map.find(id);
  return it == map.end() ? otherwise : it->second;
}

}  // namespace

Result<int64_t> RefTable::CountOnDisk(NodeId id) {
  std::string value;
  PRISM_ASSIGN(bool found, kv_.Get(Table::kRef, IdKey(id), value));
  if (!found) return 1;
  ByteReader reader(value);
  uint32_t count = reader.Get<uint32_t>();
  if (!reader.Finished() || count < 2) return Fail(Err::kCorrupt);
  return count;
}

int64_t RefTable::CountLocked(Shard& shard, NodeId id) {
  int64_t base = Lookup(shard.frozen_count, id, -1);
  if (base < 0) {
    Result<int64_t> on_disk = CountOnDisk(id);
    if (!on_disk) spdlog::critical("reference count of node {}: {}", id, NameOf(on_disk.error()));
    PRISM_CHECK(on_disk.has_value());
    base = *on_disk + Lookup(shard.frozen_delta, id, 0);
  }
  int64_t count = base + Lookup(shard.delta, id, 0);
  PRISM_CHECK(count >= 1);
  return count;
}

uint32_t RefTable::Get(NodeId id) {
  Shard& shard = ShardOf(id);
  std::lock_guard lock(shard.mutex);
  return static_cast<uint32_t>(CountLocked(shard, id));
}

void RefTable::Add(NodeId id) {
  Shard& shard = ShardOf(id);
  std::lock_guard lock(shard.mutex);
  ++shard.delta[id];
}

bool RefTable::DropIsLast(NodeId id) {
  Shard& shard = ShardOf(id);
  std::lock_guard lock(shard.mutex);
  if (CountLocked(shard, id) == 1) return true;
  --shard.delta[id];
  return false;
}

void RefTable::Freeze() {
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    PRISM_CHECK(shard.frozen_delta.empty() && shard.frozen_count.empty());
    shard.frozen_delta.swap(shard.delta);
  }
}

Status RefTable::Write(KvBatch& batch) {
  for (Shard& shard : shards_) {
    // Only this thread changes frozen_delta, so it may be read without the lock.
    std::unordered_map<NodeId, int64_t> counts;
    counts.reserve(shard.frozen_delta.size());
    for (const auto& [id, delta] : shard.frozen_delta) {
      if (delta == 0) continue;
      PRISM_ASSIGN(int64_t on_disk, CountOnDisk(id));
      int64_t count = on_disk + delta;
      PRISM_CHECK(count >= 1);
      counts[id] = count;
      if (count >= 2) {
        std::string value;
        ByteWriter(value).Put(static_cast<uint32_t>(count));
        batch.Put(Table::kRef, IdKey(id), value);
      } else if (on_disk >= 2) {
        batch.Delete(Table::kRef, IdKey(id));
      }
    }
    std::lock_guard lock(shard.mutex);
    shard.frozen_count = std::move(counts);
    shard.frozen_delta.clear();
  }
  return {};
}

void RefTable::Durable() {
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    shard.frozen_count.clear();
  }
}

size_t RefTable::pending() const {
  size_t total = 0;
  for (const Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    total += shard.delta.size();
  }
  return total;
}

}  // namespace prism::cow
