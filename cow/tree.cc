#include "cow/tree.h"

#include "cow/extent.h"

namespace prism::cow {

Result<bool> Forest::Get(NodeId root, Key key, std::string& value) {
  PRISM_ASSIGN(NodePtr node, nodes_.Load(root));
  while (!node->is_leaf()) {
    PRISM_ASSIGN(NodePtr child, nodes_.Load(node->children[node->ChildIndex(key)]));
    node = std::move(child);
  }
  size_t index = node->LowerBound(key);
  if (index == node->count() || node->keys[index] != key) return false;
  value.assign(node->value(index));
  return true;
}

Status Forest::Scan(NodeId root, Key first, Key last,
                    FunctionRef<bool(Key, std::string_view)> visitor) {
  struct Step {
    NodePtr node;
    size_t next;  // the child to descend into next
  };
  std::vector<Step> path;
  PRISM_ASSIGN(NodePtr node, nodes_.Load(root));
  bool at_start = true;
  for (;;) {
    while (!node->is_leaf()) {
      size_t index = at_start ? node->ChildIndex(first) : 0;
      PRISM_ASSIGN(NodePtr child, nodes_.Load(node->children[index]));
      path.push_back({std::move(node), index + 1});
      node = std::move(child);
    }
    for (size_t i = at_start ? node->LowerBound(first) : 0; i < node->count(); ++i) {
      if (!(node->keys[i] < last)) return {};
      if (!visitor(node->keys[i], node->value(i))) return {};
    }
    at_start = false;
    while (!path.empty() && path.back().next == path.back().node->count()) path.pop_back();
    if (path.empty()) return {};
    Step& step = path.back();
    if (!(step.node->keys[step.next] < last)) return {};
    PRISM_ASSIGN(NodePtr child, nodes_.Load(step.node->children[step.next]));
    ++step.next;
    node = std::move(child);
  }
}

Status Forest::Prefault(NodeId root, Key key, std::vector<NodePtr>& pins) {
  PRISM_ASSIGN(NodePtr node, nodes_.Load(root));
  while (!node->is_leaf()) {
    PRISM_ASSIGN(NodePtr child, nodes_.Load(node->children[node->ChildIndex(key)]));
    pins.push_back(std::exchange(node, std::move(child)));
  }
  pins.push_back(std::move(node));
  return {};
}

Status Forest::PrefaultRange(NodeId root, Key first, Key last, std::vector<NodePtr>& pins) {
  PRISM_ASSIGN(NodePtr node, nodes_.Load(root));
  if (!node->is_leaf()) {
    size_t end = node->ChildIndex(last);
    for (size_t i = node->ChildIndex(first); i <= end; ++i)
      PRISM_TRY(PrefaultRange(node->children[i], first, last, pins));
  }
  pins.push_back(std::move(node));
  return {};
}

Result<bool> Forest::FirstKey(NodeId root, Key first, Key last, Key& found) {
  bool any = false;
  PRISM_TRY(Scan(root, first, last, [&](Key key, std::string_view) {
    any = true;
    found = key;
    return false;
  }));
  return any;
}

// A node is exclusive when all its references come from exclusive nodes, or are these roots.
Result<Forest::Exclusive> Forest::CountExclusive(std::span<const NodeId> roots) {
  Exclusive result;
  std::unordered_map<NodeId, uint32_t> missing;  // of shared nodes: references not yet met
  std::vector<NodeId> stack(roots.begin(), roots.end());
  while (!stack.empty()) {
    NodeId id = stack.back();
    stack.pop_back();
    auto seen = missing.find(id);
    if (seen == missing.end()) seen = missing.emplace(id, references_.Get(id)).first;
    if (--seen->second > 0) continue;
    missing.erase(seen);
    PRISM_ASSIGN(NodePtr node, nodes_.Load(id));
    ++result.nodes;
    result.node_bytes += node->EncodedBytes();
    stack.insert(stack.end(), node->children.begin(), node->children.end());
    if (!node->is_leaf()) continue;
    for (size_t i = 0; i < node->count(); ++i) {
      result.inodes += node->keys[i].type() == ItemType::kInode;
      if (node->keys[i].type() != ItemType::kExtent) continue;
      PRISM_ASSIGN(std::vector<Piece> pieces, DecodeExtent(node->value(i)));
      for (const Piece& piece : pieces) ++result.chunks[piece.chunk];
    }
  }
  return result;
}

}  // namespace prism::cow
