// The B+trees of all volumes: one forest that shares nodes.
//
// After Rodeh, "B-trees, Shadowing, and Clones" (ACM TOS 3(4), 2008), with two deviations: a node
// that only one tree can reach is changed in place under its id, and reference counts exist only
// above 1. A clone adds one reference to a root; the first change below a shared node copies the
// path, and every copy adds a reference to what it points to. There is no chain to walk: cost does
// not grow with the number or depth of clones.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "cow/node_store.h"
#include "cow/ref_table.h"
#include "fs/base/function_ref.h"

namespace prism::cow {

// Where references to chunks are counted: one per piece per leaf that holds it.
class ChunkReferences {
 public:
  virtual ~ChunkReferences() = default;
  virtual void AddReference(ChunkId id, int64_t delta) = 0;
};

// What a tree holds, kept by every change of it, so that nobody has to walk it to know.
struct TreeUsage {
  uint64_t node_bytes = 0;    // of all its nodes, encoded
  uint64_t inline_bytes = 0;  // of them, the bodies of small files
  // Stored bytes of the chunks that its extents refer to. A chunk counts once in each block of a
  // file: within a block it is met twice after an overwrite, elsewhere only as a duplicate.
  uint64_t chunk_bytes = 0;
  uint64_t own_chunk_bytes = 0;  // of them, chunks from TreeRoot::own_from on
  bool operator==(const TreeUsage&) const = default;
};

// One volume's tree. Guarded by the volume's lock.
struct TreeRoot {
  VolumeId volume = 0;
  // Grows whenever the root gets another reference: what the volume owned alone before it may now
  // share. A node's (owner, owner_generation) equal to this pair proves that no other tree reaches
  // it.
  uint64_t generation = 1;
  NodeId node = 0;
  ChunkId own_from = 0;
  TreeUsage usage;
};

// Adds what an item of a leaf takes to `usage`, or with sign -1 takes it away.
void CountItem(TreeUsage& usage, ChunkId own_from, Key key, std::string_view value, int sign);

class Forest {
 public:
  Forest(NodeStore& nodes, RefTable& references, ChunkReferences& chunks)
      : nodes_(nodes), references_(references), chunks_(chunks) {}

  // Reading. REQUIRES: the volume's lock, shared or exclusive.
  Result<bool> Get(NodeId root, Key key, std::string& value);
  Status Scan(NodeId root, Key first, Key last, FunctionRef<bool(Key, std::string_view)> visitor);

  // Visits, in order, the items that are not the same in both trees (null: not in that one), until
  // the visitor returns false. Nodes that both share are not looked into. Returns how many were.
  // REQUIRES: neither tree changes meanwhile.
  using DiffVisitor = FunctionRef<bool(Key, const std::string_view* a, const std::string_view* b)>;
  Result<uint64_t> DiffTrees(NodeId root_a, NodeId root_b, DiffVisitor visitor);

  // Loads what a change of `key` (of the range) needs into `pins`, so that the change itself cannot
  // fail. REQUIRES: the volume's lock, exclusive.
  Status Prefault(NodeId root, Key key, std::vector<NodePtr>& pins);
  Status PrefaultRange(NodeId root, Key first, Key last, std::vector<NodePtr>& pins);

  // Changing. REQUIRES: the volume's lock, exclusive, the engine's gate, and a Prefault.
  NodeId CreateEmpty(TreeRoot& tree);
  void Put(TreeRoot& tree, Key key, std::string_view value);
  void Erase(TreeRoot& tree, Key key);
  void EraseRange(TreeRoot& tree, Key first, Key last);

  // Takes away one reference to node `id`. If it was the last the node is freed and its children
  // are appended to `orphans`, each with one reference to be taken away in turn. An error means
  // that the node could not be read: what lies below it is lost space. REQUIRES: the gate.
  Status DropReference(NodeId id, std::vector<NodeId>& orphans);

  struct Exclusive {
    uint64_t nodes = 0;
    uint64_t node_bytes = 0;
    uint64_t inodes = 0;                          // records of inodes in exclusive leaves
    std::unordered_map<ChunkId, int64_t> chunks;  // references from exclusive leaves
  };
  // What only these trees reach, together. Cost: those nodes. REQUIRES: the volumes' locks.
  Result<Exclusive> CountExclusive(std::span<const NodeId> roots);

 private:
  struct Split {
    bool happened = false;
    Key key;
    NodeId right = 0;
  };
  NodePtr MustLoad(NodeId id);
  // The node to change instead of `node`, whose parents this tree owns already.
  NodePtr MakeWritable(const TreeRoot& tree, NodePtr node);
  NodePtr CopyShared(const TreeRoot& tree, const NodePtr& node);
  Split PutBelow(TreeRoot& tree, const NodePtr& node, Key key, std::string_view value);
  void PutInLeaf(TreeRoot& tree, Node& leaf, Key key, std::string_view value);
  Split SplitIfFull(TreeRoot& tree, const NodePtr& node, size_t changed_index);
  void EraseBelow(TreeRoot& tree, const NodePtr& node, Key key);
  void EraseChildIfEmptyOrMerge(TreeRoot& tree, const NodePtr& node, size_t index);
  bool MergeWithSibling(TreeRoot& tree, const NodePtr& node, size_t index, size_t sibling_index);
  void AddReferencesBelow(const Node& node);
  void DropDuplicate(const NodePtr& node);
  void FreeLast(const NodePtr& node, std::vector<NodeId>& orphans);
  void CountReferences(const Node& leaf, int64_t delta);
  void CountReferences(Key key, std::string_view value, int64_t delta);
  NodePtr OwnedCreate(const TreeRoot& tree, uint8_t level);
  Result<bool> FirstKey(NodeId root, Key first, Key last, Key& found);

  NodeStore& nodes_;
  RefTable& references_;
  ChunkReferences& chunks_;
};

}  // namespace prism::cow
