// Where nodes live: a cache of bounded size over the store, and the set of changed nodes.
//
// A changed node belongs to the checkpoint epoch of its change. A checkpoint freezes that set; a
// writer that meets a frozen node copies it in memory under the same id, so neither waits for the
// other. A node is clean again when its epoch is durable.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cow/kv.h"
#include "cow/node.h"

namespace prism::cow {

class NodeStore {
 public:
  NodeStore(Kv& kv, uint64_t cache_bytes) : kv_(kv), shard_bytes_max_(cache_bytes / kShards) {}

  // Any thread. kCorrupt and kIo are logged with the node's id.
  Result<NodePtr> Load(NodeId id);

  // REQUIRES (these three): the engine's gate is held, and the lock of the owning volume.
  NodePtr Create(uint8_t level, const Node* content = nullptr);  // content is copied
  // The object to change in place of `node`: itself, or its copy if it is frozen.
  NodePtr MakeDirty(NodePtr node);
  void Free(const NodePtr& node);

  // The checkpoint. Freeze: gate held exclusively.
  struct Frozen {
    uint64_t epoch = 0;
    std::vector<NodePtr> changed;
    std::vector<NodeId> freed;
  };
  Frozen Freeze();
  static void Write(const Frozen& frozen, KvBatch& batch);
  void Durable(const Frozen& frozen);

  size_t dirty_count() const { return dirty_count_.load(std::memory_order_relaxed); }
  uint64_t live_count() const { return live_count_.load(std::memory_order_relaxed); }
  uint64_t next_id() const { return next_id_; }
  // Recovery: what the last checkpoint recorded.
  void Restore(uint64_t next_id, uint64_t live_count);

 private:
  static constexpr size_t kShards = 64;
  struct Shard {
    std::mutex mutex;
    std::unordered_map<NodeId, NodePtr> nodes;
    std::vector<NodeId> ring;  // clock order; may name nodes that have gone
    size_t hand = 0;
    uint64_t bytes = 0;
  };
  Shard& ShardOf(NodeId id) { return shards_[id % kShards]; }
  NodePtr Install(NodePtr node);
  void Replace(const NodePtr& node);
  static void Charge(Shard& shard, Node& node);
  void Evict(Shard& shard);
  void AddDirty(const NodePtr& node);

  Kv& kv_;
  const uint64_t shard_bytes_max_;
  std::array<Shard, kShards> shards_;

  std::atomic<uint64_t> epoch_{1};  // changed with the gate held exclusively
  std::atomic<uint64_t> durable_epoch_{0};
  std::atomic<uint64_t> next_id_{1};
  std::atomic<uint64_t> live_count_{0};
  std::atomic<size_t> dirty_count_{0};
  std::mutex dirty_mutex_;
  std::vector<NodePtr> dirty_;  // guarded by dirty_mutex_
  std::vector<NodeId> freed_;   // guarded by dirty_mutex_
};

}  // namespace prism::cow
