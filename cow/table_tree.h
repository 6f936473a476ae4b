// One tree as the tables of a store have it, read without the engine: for those who check them.
#pragma once

#include <unordered_map>

#include "cow/kv.h"
#include "cow/node.h"
#include "cow/volume_map.h"

namespace prism::cow {

// THREADS: one. kCorrupt: a node is missing, does not verify, or is where it cannot be.
class TableTree : public ReadView {
 public:
  // `tables` do not change meanwhile.
  TableTree(Kv& tables, NodeId root) : tables_(tables), root_(root) {}

  Result<bool> Get(Key key, std::string& value) const override;
  Status Scan(Key first, Key last, FunctionRef<bool(Key, std::string_view)> visitor) const override;
  VolumeUsage Usage() const override { return {}; }

 private:
  using Visitor = FunctionRef<bool(Key, std::string_view)>;
  static constexpr size_t kCachedMax = 1024;  // nodes: what neighbours share, a few MB

  Result<NodePtr> Load(NodeId id, int level_below) const;
  Result<bool> ScanBelow(NodeId id, int level_below, Key first, Key last, Visitor visitor) const;

  Kv& tables_;
  const NodeId root_;
  mutable std::unordered_map<NodeId, NodePtr> cache_;
};

}  // namespace prism::cow
