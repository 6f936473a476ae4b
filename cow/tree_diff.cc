// What differs between two trees: both are walked in key order side by side, and a node that is in
// both at the same place is not looked into.
#include "cow/tree.h"

namespace prism::cow {
namespace {

// A place in a tree: before an item, before a child that has not been looked into, or at the end.
class Cursor {
 public:
  Cursor(NodeStore& nodes, uint64_t& visited) : nodes_(nodes), visited_(visited) {}

  Status Begin(NodeId root) { return Push(root, Key{}); }
  bool at_end() const { return path_.empty(); }
  bool at_item() const { return path_.back().node->is_leaf(); }
  // The child's, where there is no item; what it holds is not below it.
  Key key() const {
    const Step& step = path_.back();
    return step.index == 0 && !at_item() ? step.low : step.node->keys[step.index];
  }
  std::string_view value() const { return path_.back().node->value(path_.back().index); }
  NodeId child() const { return path_.back().node->children[path_.back().index]; }
  uint8_t level() const { return path_.back().node->level; }

  Status Enter() { return Push(child(), key()); }
  // Past the item or the child.
  void Skip() {
    ++path_.back().index;
    LeaveFinished();
  }

 private:
  struct Step {
    NodePtr node;
    size_t index = 0;
    Key low;  // of what the node covers
  };
  Status Push(NodeId id, Key low) {
    PRISM_ASSIGN(NodePtr node, nodes_.Load(id));
    ++visited_;
    path_.push_back({std::move(node), 0, low});
    LeaveFinished();
    return {};
  }
  void LeaveFinished() {
    while (!path_.empty() && path_.back().index == path_.back().node->count()) {
      path_.pop_back();
      if (!path_.empty()) ++path_.back().index;
    }
  }

  NodeStore& nodes_;
  uint64_t& visited_;
  std::vector<Step> path_;
};

// Goes into the child that must come first, or into both where neither can be told to.
Status EnterOne(Cursor& a, Cursor& b) {
  if (a.key() < b.key() || (a.key() == b.key() && a.level() > b.level())) return a.Enter();
  if (b.key() < a.key() || b.level() > a.level()) return b.Enter();
  PRISM_TRY(a.Enter());
  return b.Enter();
}

}  // namespace

Result<uint64_t> Forest::DiffTrees(NodeId root_a, NodeId root_b, DiffVisitor visitor) {
  uint64_t visited = 0;
  if (root_a == root_b) return visited;
  Cursor a(nodes_, visited), b(nodes_, visited);
  PRISM_TRY(a.Begin(root_a));
  PRISM_TRY(b.Begin(root_b));
  while (!a.at_end() || !b.at_end()) {
    const bool item_a = !a.at_end() && a.at_item(), item_b = !b.at_end() && b.at_item();
    // An item is alone when everything that the other tree has left is above it.
    const bool alone_a = item_a && (b.at_end() || a.key() < b.key());
    const bool alone_b = item_b && (a.at_end() || b.key() < a.key());
    bool go_on = true;
    if (alone_a || alone_b) {
      Cursor& one = alone_a ? a : b;
      const std::string_view value = one.value();
      go_on = visitor(one.key(), alone_a ? &value : nullptr, alone_b ? &value : nullptr);
      one.Skip();
    } else if (item_a && item_b) {
      const std::string_view value_a = a.value(), value_b = b.value();
      if (value_a != value_b) go_on = visitor(a.key(), &value_a, &value_b);
      a.Skip();
      b.Skip();
    } else if (item_a || a.at_end()) {
      PRISM_TRY(b.Enter());
    } else if (item_b || b.at_end()) {
      PRISM_TRY(a.Enter());
    } else if (a.child() == b.child()) {
      a.Skip();
      b.Skip();
    } else {
      PRISM_TRY(EnterOne(a, b));
    }
    if (!go_on) break;
  }
  return visited;
}

}  // namespace prism::cow
