// A node of the tree forest, in memory and encoded.
//
// In memory a node is a few flat arrays, so that copying one (the price of the first write below a
// shared node) is some memcpys. kNodeTargetBytes is a target, not a limit: a node splits when it is
// larger and has two items or more, so one item may be as large as kValueMax.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cow/key.h"
#include "fs/base/error.h"

namespace prism::cow {

using NodeId = uint64_t;  // sequential from 1, never used again

inline constexpr size_t kNodeTargetBytes = 4096;  // encoded
inline constexpr size_t kNodeHeaderBytes = 40;
inline constexpr size_t kInnerItemBytes = 24;
inline constexpr size_t kLeafItemBytes = 20;  // and the value's

// THREADS: content is immutable while the node is shared or frozen (node_store.h); otherwise it is
// guarded by the lock of the one volume that owns it.
class Node {
 public:
  Node(NodeId node_id, uint8_t node_level) : id(node_id), level(node_level) {}
  Node(NodeId node_id, const Node& other);  // a copy of the content under another (or the same) id

  bool is_leaf() const { return level == 0; }
  size_t count() const { return keys.size(); }

  // Leaves: the index of the first key not below `key`.
  size_t LowerBound(Key key) const;
  // Inner nodes: the index of the child that covers `key`. keys[0] counts as minus infinity.
  size_t ChildIndex(Key key) const;

  std::string_view value(size_t index) const {
    return std::string_view(heap_).substr(slots_[index].offset, slots_[index].length);
  }
  void InsertValue(size_t index, Key key, std::string_view bytes);
  void ReplaceValue(size_t index, std::string_view bytes);
  void InsertChild(size_t index, Key key, NodeId child);
  void EraseAt(size_t index);

  // Moves items [from, count) to the end of `right`, which has the same level.
  void MoveTailTo(size_t from, Node& right);
  // Appends all items of `other`, whose keys are all above ours.
  void AppendAll(const Node& other);
  // Prepends all items of `other`, whose keys are all below ours.
  void PrependAll(const Node& other);

  size_t EncodedBytes() const;
  size_t MemoryBytes() const;
  std::string Encode() const;
  // kCorrupt when the bytes are not node `expected_id`, intact and well-formed.
  static Result<Node*> Decode(NodeId expected_id, std::string_view bytes);

  const NodeId id;
  const uint8_t level;  // 0: leaf
  std::vector<Key> keys;
  std::vector<NodeId> children;  // inner nodes

  // Who may change it in place: `owner` since that volume's share generation `owner_generation`.
  // Both guarded by the owner's lock; see Tree::MakeWritable.
  uint64_t owner = 0;
  uint64_t owner_generation = 0;
  uint64_t epoch_created = 0;
  uint64_t epoch_dirty = 0;        // the checkpoint epoch of the last change; 0: as on disk
  std::atomic<bool> freed{false};  // no longer part of any tree: not to be written
  std::atomic<bool> recently_used{true};
  std::atomic<uint32_t> references{0};
  uint64_t charged_bytes = 0;  // what the cache counts for it; guarded by the cache's shard

 private:
  struct Slot {
    uint32_t offset;
    uint32_t length;
  };
  void CompactHeap();

  std::vector<Slot> slots_;  // leaves
  std::string heap_;
  size_t dead_bytes_ = 0;
};

// Shared ownership by the cache, the checkpoint and whoever reads.
class NodePtr {
 public:
  NodePtr() = default;
  explicit NodePtr(Node* node) : node_(node) {
    if (node_ != nullptr) node_->references.fetch_add(1, std::memory_order_relaxed);
  }
  NodePtr(const NodePtr& other) : NodePtr(other.node_) {}
  NodePtr(NodePtr&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  NodePtr& operator=(NodePtr other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~NodePtr() {
    if (node_ != nullptr && node_->references.fetch_sub(1, std::memory_order_acq_rel) == 1)
      delete node_;
  }
  Node* operator->() const { return node_; }
  Node& operator*() const { return *node_; }
  Node* get() const { return node_; }
  explicit operator bool() const { return node_ != nullptr; }

 private:
  Node* node_ = nullptr;
};

}  // namespace prism::cow
