// A tree with the parts of other trees that are grafted into it, as one: what a composed volume's
// inode numbers lead to (clone/composition.h says how they are made).
//
// Raw: it knows nothing of what is reachable. Items of inodes that a graft brought are looked for
// in the own tree first, whose empty value says that there is none; then in the part, where keys
// and the inode numbers in values (kDirEntry, kParent) lose and get the graft's prefix. kOrphan,
// kRequest and kVolatile are the own tree's alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cow/volume_map.h"

namespace prism::fs {

struct FrozenTree;

// THREADS: any, it never changes.
class GraftedTree {
 public:
  struct Graft {
    std::shared_ptr<const FrozenTree> part;
    uint32_t prefix = 0;  // the first of its own
    uint32_t prefixes = 1;
    bool read_only = false;
  };
  enum class Origin : uint8_t { kNone, kOwn, kPart };
  using Visitor = FunctionRef<bool(cow::Key, std::string_view)>;

  GraftedTree() = default;
  explicit GraftedTree(std::vector<Graft> grafts) : grafts_(std::move(grafts)) {}  // by prefix

  // What an inode of this number came with; null: nothing grafted.
  const Graft* Find(InodeId ino) const;
  // The same for an item; null: the own tree alone has it.
  const Graft* Find(cow::Key key) const;
  // Of names and attributes of an inode that a graft brought.
  static std::pair<uint64_t, uint64_t> HashKeyIn(const Graft& graft, InodeId ino);

  // `own`: a view of the own tree. It is asked first, so one that is gone is noticed.
  Result<Origin> Get(const cow::ReadView& own, cow::Key key, std::string& value) const;
  // REQUIRES: a range within the items of one type and inode, where a graft brought that.
  Status Scan(const cow::ReadView& own, cow::Key first, cow::Key last, Visitor visitor) const;

  // As the part has it.
  static Result<bool> GetInPart(const Graft& graft, cow::Key key, std::string& value);
  static Status ScanInPart(const Graft& graft, cow::Key first, cow::Key last, Visitor visitor);

 private:
  std::vector<Graft> grafts_;
};

// A part, with what is grafted into it itself.
struct FrozenTree {
  std::shared_ptr<cow::VolumeMap> map;
  std::unique_ptr<cow::ReadView> view;
  GraftedTree grafts;
};

}  // namespace prism::fs
