// How trees change: copy what is shared, then change in place, split and merge.
#include <spdlog/spdlog.h>

#include <algorithm>

#include "cow/extent.h"
#include "cow/tree.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr size_t kMergeBelowBytes = kNodeTargetBytes / 4;
constexpr size_t kMergedBytesMax = kNodeTargetBytes * 3 / 4;

}  // namespace

// Everything a change needs was prefaulted; what is missing here cannot be answered with an error,
// because the tree is half changed.
NodePtr Forest::MustLoad(NodeId id) {
  Result<NodePtr> node = nodes_.Load(id);
  if (!node) spdlog::critical("node {} cannot be read in the middle of a change", id);
  PRISM_CHECK(node.has_value());
  return std::move(*node);
}

NodePtr Forest::OwnedCreate(const TreeRoot& tree, uint8_t level) {
  NodePtr node = nodes_.Create(level);
  node->owner = tree.volume;
  node->owner_generation = tree.generation;
  return node;
}

NodeId Forest::CreateEmpty(TreeRoot& tree) {
  tree.node = OwnedCreate(tree, 0)->id;
  tree.usage.node_bytes += kNodeHeaderBytes;
  return tree.node;
}

void CountItem(TreeUsage& usage, ChunkId own_from, Key key, std::string_view value, int sign) {
  auto count = [sign](uint64_t& total, uint64_t bytes) { total += sign < 0 ? -bytes : bytes; };
  count(usage.node_bytes, kLeafItemBytes + value.size());
  if (key.type() == ItemType::kInlineData) count(usage.inline_bytes, value.size());
  if (key.type() != ItemType::kExtent) return;
  Result<std::vector<Piece>> pieces = DecodeExtent(value);
  if (!pieces) return;
  for (auto piece = pieces->begin(); piece != pieces->end(); ++piece) {
    const bool met = std::any_of(pieces->begin(), piece,
                                 [&](const Piece& other) { return other.chunk == piece->chunk; });
    if (met) continue;
    count(usage.chunk_bytes, uint64_t{piece->stored_kib} * 1024);
    if (piece->chunk >= own_from) count(usage.own_chunk_bytes, uint64_t{piece->stored_kib} * 1024);
  }
}

NodePtr Forest::MakeWritable(const TreeRoot& tree, NodePtr node) {
  if (node->owner != tree.volume || node->owner_generation != tree.generation) {
    if (references_.Get(node->id) > 1) return CopyShared(tree, node);
    node->owner = tree.volume;
    node->owner_generation = tree.generation;
  }
  return nodes_.MakeDirty(std::move(node));
}

NodePtr Forest::CopyShared(const TreeRoot& tree, const NodePtr& node) {
  NodePtr copy = nodes_.Create(node->level, node.get());
  copy->owner = tree.volume;
  copy->owner_generation = tree.generation;
  AddReferencesBelow(*copy);
  DropDuplicate(node);
  return copy;
}

void Forest::AddReferencesBelow(const Node& node) {
  for (NodeId child : node.children) references_.Add(child);
  CountReferences(node, +1);
}

// Takes this tree's reference away from a node whose content it now holds elsewhere. Another tree
// may have dropped its own since we looked; then the old node goes, and so does one reference to
// each of its children, which cannot be the last: the new holder has one.
void Forest::DropDuplicate(const NodePtr& node) {
  if (!references_.DropIsLast(node->id)) return;
  std::vector<NodeId> orphans;
  FreeLast(node, orphans);
  for (NodeId child : orphans) {
    bool last = references_.DropIsLast(child);
    PRISM_CHECK(!last);
  }
}

Status Forest::DropReference(NodeId id, std::vector<NodeId>& orphans) {
  if (!references_.DropIsLast(id)) return {};
  PRISM_ASSIGN(NodePtr node, nodes_.Load(id));
  FreeLast(node, orphans);
  return {};
}

void Forest::FreeLast(const NodePtr& node, std::vector<NodeId>& orphans) {
  orphans.insert(orphans.end(), node->children.begin(), node->children.end());
  CountReferences(*node, -1);
  nodes_.Free(node);
}

void Forest::CountReferences(const Node& leaf, int64_t delta) {
  if (!leaf.is_leaf()) return;
  for (size_t i = 0; i < leaf.count(); ++i) CountReferences(leaf.keys[i], leaf.value(i), delta);
}

void Forest::CountReferences(Key key, std::string_view value, int64_t delta) {
  if (key.type() != ItemType::kExtent) return;
  Result<std::vector<Piece>> pieces = DecodeExtent(value);
  PRISM_CHECK(pieces.has_value());  // verified by the node's checksum, encoded by us
  for (const Piece& piece : *pieces) chunks_.AddReference(piece.chunk, delta);
}

void Forest::Put(TreeRoot& tree, Key key, std::string_view value) {
  PRISM_CHECK(value.size() <= kValueMax);
  NodePtr root = MakeWritable(tree, MustLoad(tree.node));
  tree.node = root->id;
  Split split = PutBelow(tree, root, key, value);
  if (!split.happened) return;
  NodePtr above = OwnedCreate(tree, static_cast<uint8_t>(root->level + 1));
  above->InsertChild(0, Key{}, root->id);
  above->InsertChild(1, split.key, split.right);
  tree.node = above->id;
  tree.usage.node_bytes += kNodeHeaderBytes + 2 * kInnerItemBytes;
}

// REQUIRES: node is writable.
Forest::Split Forest::PutBelow(TreeRoot& tree, const NodePtr& node, Key key,
                               std::string_view value) {
  if (node->is_leaf()) {
    PutInLeaf(tree, *node, key, value);
    return SplitIfFull(tree, node, node->LowerBound(key));
  }
  size_t index = node->ChildIndex(key);
  if (key < node->keys[index]) node->keys[index] = key;  // the first child covers all below, too
  NodePtr child = MakeWritable(tree, MustLoad(node->children[index]));
  node->children[index] = child->id;
  Split split = PutBelow(tree, child, key, value);
  if (!split.happened) return {};
  node->InsertChild(index + 1, split.key, split.right);
  tree.usage.node_bytes += kInnerItemBytes;
  return SplitIfFull(tree, node, index + 1);
}

void Forest::PutInLeaf(TreeRoot& tree, Node& leaf, Key key, std::string_view value) {
  CountReferences(key, value, +1);
  CountItem(tree.usage, tree.own_from, key, value, +1);
  size_t index = leaf.LowerBound(key);
  if (index < leaf.count() && leaf.keys[index] == key) {
    CountReferences(key, leaf.value(index), -1);
    CountItem(tree.usage, tree.own_from, key, leaf.value(index), -1);
    leaf.ReplaceValue(index, value);
  } else {
    leaf.InsertValue(index, key, value);
  }
}

Forest::Split Forest::SplitIfFull(TreeRoot& tree, const NodePtr& node, size_t changed_index) {
  if (node->EncodedBytes() <= kNodeTargetBytes || node->count() < 2) return {};
  size_t from = node->count() - 1;
  // Items that arrive in order (an import) leave full nodes behind; otherwise split by bytes.
  if (changed_index != from) {
    size_t half = (node->EncodedBytes() - kNodeHeaderBytes) / 2;
    size_t bytes = 0;
    from = 1;
    for (size_t i = 0; i + 1 < node->count(); ++i) {
      bytes += node->is_leaf() ? kLeafItemBytes + node->value(i).size() : kInnerItemBytes;
      from = i + 1;
      if (bytes >= half) break;
    }
  }
  NodePtr right = OwnedCreate(tree, node->level);
  node->MoveTailTo(from, *right);
  tree.usage.node_bytes += kNodeHeaderBytes;
  return {true, right->keys[0], right->id};
}

void Forest::Erase(TreeRoot& tree, Key key) {
  std::string ignored;
  Result<bool> found = Get(tree.node, key, ignored);
  PRISM_CHECK(found.has_value());  // prefaulted
  if (!*found) return;             // nothing to change is nothing to copy
  NodePtr root = MakeWritable(tree, MustLoad(tree.node));
  tree.node = root->id;
  EraseBelow(tree, root, key);
  PRISM_CHECK(root->is_leaf() || root->count() > 0);
  while (!root->is_leaf() && root->count() == 1) {
    tree.node = root->children[0];
    tree.usage.node_bytes -= kNodeHeaderBytes + kInnerItemBytes;
    nodes_.Free(root);  // exclusive: its reference to the child becomes the volume's
    root = MustLoad(tree.node);
  }
}

void Forest::EraseRange(TreeRoot& tree, Key first, Key last) {
  Key key;
  for (;;) {
    Result<bool> any = FirstKey(tree.node, first, last, key);
    PRISM_CHECK(any.has_value());  // prefaulted
    if (!*any) return;
    Erase(tree, key);
  }
}

// REQUIRES: node is writable and the key is there.
void Forest::EraseBelow(TreeRoot& tree, const NodePtr& node, Key key) {
  if (node->is_leaf()) {
    size_t index = node->LowerBound(key);
    CountReferences(key, node->value(index), -1);
    CountItem(tree.usage, tree.own_from, key, node->value(index), -1);
    node->EraseAt(index);
    return;
  }
  size_t index = node->ChildIndex(key);
  NodePtr child = MakeWritable(tree, MustLoad(node->children[index]));
  node->children[index] = child->id;
  EraseBelow(tree, child, key);
  EraseChildIfEmptyOrMerge(tree, node, index);
}

void Forest::EraseChildIfEmptyOrMerge(TreeRoot& tree, const NodePtr& node, size_t index) {
  NodePtr child = MustLoad(node->children[index]);
  if (child->count() == 0) {
    node->EraseAt(index);
    nodes_.Free(child);
    tree.usage.node_bytes -= kNodeHeaderBytes + kInnerItemBytes;
    return;
  }
  if (child->EncodedBytes() >= kMergeBelowBytes) return;
  if (index > 0 && MergeWithSibling(tree, node, index, index - 1)) return;
  if (index + 1 < node->count()) MergeWithSibling(tree, node, index, index + 1);
}

// Takes the sibling's items into the child at `index` (which is writable) and drops the sibling.
// The first key of an inner node may lie above what the child covers: where it stops being the
// first, the parent's key takes its place.
bool Forest::MergeWithSibling(TreeRoot& tree, const NodePtr& node, size_t index,
                              size_t sibling_index) {
  NodePtr child = MustLoad(node->children[index]);
  Result<NodePtr> loaded = nodes_.Load(node->children[sibling_index]);
  if (!loaded) return false;  // merging is a nicety
  NodePtr sibling = std::move(*loaded);
  if (child->EncodedBytes() + sibling->EncodedBytes() > kMergedBytesMax) return false;
  AddReferencesBelow(*sibling);
  size_t joint;
  if (sibling_index < index) {
    joint = sibling->count();
    child->PrependAll(*sibling);
    if (!child->is_leaf()) child->keys[joint] = node->keys[index];
    node->children[sibling_index] = child->id;
    node->EraseAt(index);
  } else {
    joint = child->count();
    child->AppendAll(*sibling);
    if (!child->is_leaf()) child->keys[joint] = node->keys[sibling_index];
    node->EraseAt(sibling_index);
  }
  tree.usage.node_bytes -= kNodeHeaderBytes + kInnerItemBytes;
  DropDuplicate(sibling);
  return true;
}

}  // namespace prism::cow
