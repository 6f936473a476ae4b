#include "cow/table_tree.h"

namespace prism::cow {
namespace {

constexpr int kLevelsMax = 256;  // more than the format can say

}  // namespace

// Levels fall with each step, so that every descent ends whatever the nodes say.
Result<NodePtr> TableTree::Load(NodeId id, int level_below) const {
  NodePtr node;
  if (auto known = cache_.find(id); known != cache_.end()) {
    node = known->second;
  } else {
    std::string bytes;
    PRISM_ASSIGN(const bool found, tables_.Get(Table::kNode, IdKey(id), bytes));
    if (!found) return Fail(Err::kCorrupt);
    PRISM_ASSIGN(Node* const decoded, Node::Decode(id, bytes));
    node = NodePtr(decoded);
    if (cache_.size() >= kCachedMax) cache_.clear();
    cache_.emplace(id, node);
  }
  if (node->level >= level_below || (!node->is_leaf() && node->count() == 0))
    return Fail(Err::kCorrupt);
  return node;
}

Result<bool> TableTree::Get(Key key, std::string& value) const {
  NodeId id = root_;
  for (int level = kLevelsMax;;) {
    PRISM_ASSIGN(const NodePtr node, Load(id, level));
    level = node->level;
    if (!node->is_leaf()) {
      id = node->children[node->ChildIndex(key)];
      continue;
    }
    const size_t i = node->LowerBound(key);
    if (i == node->count() || !(node->keys[i] == key)) return false;
    value = node->value(i);
    return true;
  }
}

Status TableTree::Scan(Key first, Key last, Visitor visitor) const {
  PRISM_TRY(ScanBelow(root_, kLevelsMax, first, last, visitor));
  return {};
}

// False: the visitor has seen enough.
Result<bool> TableTree::ScanBelow(NodeId id, int level_below, Key first, Key last,
                                  Visitor visitor) const {
  PRISM_ASSIGN(const NodePtr node, Load(id, level_below));
  if (node->is_leaf()) {
    for (size_t i = node->LowerBound(first); i < node->count() && node->keys[i] < last; ++i)
      if (!visitor(node->keys[i], node->value(i))) return false;
    return true;
  }
  const size_t start = node->ChildIndex(first);
  for (size_t i = start; i < node->count() && (i == start || node->keys[i] < last); ++i) {
    PRISM_ASSIGN(const bool more, ScanBelow(node->children[i], node->level, first, last, visitor));
    if (!more) return false;
  }
  return true;
}

}  // namespace prism::cow
