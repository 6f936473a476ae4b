// Uncompressed chunks by id, in bounded memory; one copy serves all clones. Least recently used
// goes first. Thread-safe.
//
// What is read for the first time can be read without the cache (FirstTime): a large file that is
// read once then costs no memory, no page faults for it, and does not drive out what is used. The
// kernel's page cache has it for the second time.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <span>
#include <unordered_map>

namespace prism::cow {

// Not cleared when made: it is about to be filled.
class ChunkBytes {
 public:
  explicit ChunkBytes(size_t size)
      : data_(std::make_unique_for_overwrite<std::byte[]>(size)), size_(size) {}
  std::span<std::byte> span() { return {data_.get(), size_}; }
  const std::byte* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  std::unique_ptr<std::byte[]> data_;
  size_t size_;
};

class ChunkCache {
 public:
  using Bytes = std::shared_ptr<const ChunkBytes>;

  explicit ChunkCache(uint64_t bytes_max) : shard_bytes_max_(bytes_max / kShards) {}

  Bytes Find(uint64_t id) {
    Shard& shard = shards_[id % kShards];
    std::lock_guard lock(shard.mutex);
    auto it = shard.entries.find(id);
    if (it == shard.entries.end()) return nullptr;
    shard.order.splice(shard.order.end(), shard.order, it->second);
    return it->second->bytes;
  }

  // Of late, nobody has asked this about this chunk.
  bool FirstTime(uint64_t id) {
    return asked_[id % kAsked].exchange(id, std::memory_order_relaxed) != id;
  }

  void Insert(uint64_t id, Bytes bytes) {
    if (bytes->size() + kOverheadBytes > shard_bytes_max_) return;
    Shard& shard = shards_[id % kShards];
    std::lock_guard lock(shard.mutex);
    if (shard.entries.contains(id)) return;
    shard.bytes += bytes->size() + kOverheadBytes;
    shard.order.push_back({id, std::move(bytes)});
    shard.entries[id] = std::prev(shard.order.end());
    while (shard.bytes > shard_bytes_max_) {
      shard.bytes -= shard.order.front().bytes->size() + kOverheadBytes;
      shard.entries.erase(shard.order.front().id);
      shard.order.pop_front();
    }
  }

 private:
  static constexpr size_t kShards = 16;
  static constexpr uint64_t kOverheadBytes = 160;  // of list and map nodes
  static constexpr size_t kAsked = 65536;          // 4 GiB of chunks that were stored one by one
  struct Entry {
    uint64_t id;
    Bytes bytes;
  };
  struct Shard {
    std::mutex mutex;
    std::list<Entry> order;
    std::unordered_map<uint64_t, std::list<Entry>::iterator> entries;
    uint64_t bytes = 0;
  };
  const uint64_t shard_bytes_max_;
  std::array<Shard, kShards> shards_;
  std::unique_ptr<std::atomic<uint64_t>[]> asked_ =
      std::make_unique<std::atomic<uint64_t>[]>(kAsked);  // by id % kAsked; ids begin at 1
};

}  // namespace prism::cow
