// Reference counts of nodes: how many parents (nodes and volume roots) point to a node.
//
// A row exists on disk only for counts of 2 and more. Changes gather as deltas in memory, cancel
// each other, and become absolute rows at the checkpoint.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "cow/kv.h"
#include "cow/node.h"

namespace prism::cow {

// THREADS: all methods from any thread; changes only with the engine's gate held.
// A failing read of a row stops the process: the tree that needs the answer is half changed by
// then.
class RefTable {
 public:
  explicit RefTable(Kv& kv) : kv_(kv) {}

  uint32_t Get(NodeId id);
  void Add(NodeId id);
  // Takes one reference away. True: it was the last, and the caller frees the node.
  bool DropIsLast(NodeId id);

  // The checkpoint. Freeze: gate held exclusively. Write resolves what was frozen into `batch`
  // while new changes gather; Durable afterwards.
  void Freeze();
  Status Write(KvBatch& batch);
  void Durable();
  size_t pending() const;

 private:
  struct Shard {
    mutable std::mutex mutex;
    std::unordered_map<NodeId, int64_t> delta;         // since the last Freeze
    std::unordered_map<NodeId, int64_t> frozen_delta;  // until Write has resolved them
    std::unordered_map<NodeId, int64_t> frozen_count;  // absolute, until Durable
  };
  static constexpr size_t kShards = 16;

  Shard& ShardOf(NodeId id) { return shards_[id % kShards]; }
  Result<int64_t> CountOnDisk(NodeId id);
  int64_t CountLocked(Shard& shard, NodeId id);

  Kv& kv_;
  std::array<Shard, kShards> shards_;
};

}  // namespace prism::cow
