#include "cow/node_store.h"

#include <spdlog/spdlog.h>

#include "fs/base/check.h"

namespace prism::cow {

Result<NodePtr> NodeStore::Load(NodeId id) {
  Shard& shard = ShardOf(id);
  {
    std::lock_guard lock(shard.mutex);
    auto it = shard.nodes.find(id);
    if (it != shard.nodes.end()) {
      if (!it->second->recently_used.load(std::memory_order_relaxed))
        it->second->recently_used.store(true, std::memory_order_relaxed);
      return it->second;
    }
  }
  std::string bytes;
  PRISM_ASSIGN(bool found, kv_.Get(Table::kNode, IdKey(id), bytes));
  Result<Node*> node = found ? Node::Decode(id, bytes) : Fail(Err::kCorrupt);
  if (!node) {
    spdlog::error("node {} {}", id, found ? "does not verify" : "is missing");
    return Fail(node.error());
  }
  return Install(NodePtr(*node));
}

// Another thread may have loaded the same node meanwhile: the one in the cache wins.
NodePtr NodeStore::Install(NodePtr node) {
  Shard& shard = ShardOf(node->id);
  std::lock_guard lock(shard.mutex);
  auto [it, inserted] = shard.nodes.emplace(node->id, node);
  if (!inserted) return it->second;
  shard.ring.push_back(node->id);
  Charge(shard, *node);
  if (shard.bytes > shard_bytes_max_) Evict(shard);
  return node;
}

// Clock: a node that nobody holds (dirty ones are held) and that was not used since the last round
// goes. One bounded pass a call.
void NodeStore::Evict(Shard& shard) {
  size_t steps = std::min<size_t>(shard.ring.size(), 64);
  for (size_t i = 0; i < steps && shard.bytes > shard_bytes_max_; ++i) {
    if (shard.hand >= shard.ring.size()) shard.hand = 0;
    NodeId id = shard.ring[shard.hand];
    auto it = shard.nodes.find(id);
    bool held =
        it != shard.nodes.end() && it->second->references.load(std::memory_order_acquire) > 1;
    bool used = it != shard.nodes.end() &&
                it->second->recently_used.exchange(false, std::memory_order_relaxed);
    if (it != shard.nodes.end() && (held || used)) {
      ++shard.hand;
      continue;
    }
    if (it != shard.nodes.end()) {
      shard.bytes -= it->second->charged_bytes;
      shard.nodes.erase(it);
    }
    shard.ring[shard.hand] = shard.ring.back();
    shard.ring.pop_back();
  }
}

NodePtr NodeStore::Create(uint8_t level, const Node* content) {
  NodeId id = next_id_.fetch_add(1, std::memory_order_relaxed);
  NodePtr node(content == nullptr ? new Node(id, level) : new Node(id, *content));
  node->epoch_created = epoch_.load(std::memory_order_relaxed);
  live_count_.fetch_add(1, std::memory_order_relaxed);
  AddDirty(node);
  return Install(node);
}

NodePtr NodeStore::MakeDirty(NodePtr node) {
  uint64_t epoch = epoch_.load(std::memory_order_relaxed);
  if (node->epoch_dirty == epoch) return node;
  if (node->epoch_dirty > durable_epoch_.load(std::memory_order_acquire)) {
    NodePtr copy(new Node(node->id, *node));
    copy->owner = node->owner;
    copy->owner_generation = node->owner_generation;
    copy->epoch_created = node->epoch_created;
    node = copy;
  }
  // Even without a copy: it may have left the cache while a caller kept it, and the object that is
  // about to change must be the one that everybody finds.
  Replace(node);
  AddDirty(node);
  return node;
}

void NodeStore::Replace(const NodePtr& node) {
  Shard& shard = ShardOf(node->id);
  std::lock_guard lock(shard.mutex);
  NodePtr& entry = shard.nodes[node->id];
  if (entry) {
    shard.bytes -= entry->charged_bytes;
    entry->charged_bytes = 0;
  } else {
    shard.ring.push_back(node->id);
  }
  entry = node;
  Charge(shard, *node);
}

// A node's size drifts while it changes; it is counted anew whenever it becomes dirty.
void NodeStore::Charge(Shard& shard, Node& node) {
  node.charged_bytes = node.MemoryBytes();
  shard.bytes += node.charged_bytes;
}

void NodeStore::AddDirty(const NodePtr& node) {
  node->epoch_dirty = epoch_.load(std::memory_order_relaxed);
  std::lock_guard lock(dirty_mutex_);
  dirty_.push_back(node);
  dirty_count_.store(dirty_.size(), std::memory_order_relaxed);
}

void NodeStore::Free(const NodePtr& node) {
  uint64_t epoch = epoch_.load(std::memory_order_relaxed);
  live_count_.fetch_sub(1, std::memory_order_relaxed);
  // A frozen node still has to be written: the trees of that cut refer to it.
  if (node->epoch_dirty == epoch) node->freed.store(true, std::memory_order_relaxed);
  {
    Shard& shard = ShardOf(node->id);
    std::lock_guard lock(shard.mutex);
    auto it = shard.nodes.find(node->id);
    if (it != shard.nodes.end()) {
      shard.bytes -= it->second->charged_bytes;
      shard.nodes.erase(it);
    }
  }
  if (node->epoch_created == epoch) return;  // never written
  std::lock_guard lock(dirty_mutex_);
  freed_.push_back(node->id);
}

NodeStore::Frozen NodeStore::Freeze() {
  Frozen frozen;
  frozen.epoch = epoch_.fetch_add(1, std::memory_order_relaxed);
  std::lock_guard lock(dirty_mutex_);
  frozen.changed.swap(dirty_);
  frozen.freed.swap(freed_);
  dirty_count_.store(0, std::memory_order_relaxed);
  return frozen;
}

void NodeStore::Write(const Frozen& frozen, KvBatch& batch) {
  for (const NodePtr& node : frozen.changed)
    if (!node->freed.load(std::memory_order_relaxed))
      batch.Put(Table::kNode, IdKey(node->id), node->Encode());
  for (NodeId id : frozen.freed) batch.Delete(Table::kNode, IdKey(id));
}

void NodeStore::Durable(const Frozen& frozen) {
  durable_epoch_.store(frozen.epoch, std::memory_order_release);
}

void NodeStore::Restore(uint64_t next_id, uint64_t live_count) {
  next_id_ = next_id;
  live_count_ = live_count;
}

}  // namespace prism::cow
