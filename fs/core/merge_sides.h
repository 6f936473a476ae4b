// The three trees of a merge, and what differs between them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "cow/volume_map.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

enum Side : uint8_t { kBase = 0, kMine = 1, kTheirs = 2 };
inline constexpr size_t kSides = 3;

// An inode number on each side; 0: there is none.
using SideInodes = std::array<InodeId, kSides>;
using PlaceName = std::pair<InodeId, std::string>;  // directory, name

struct FileDelta {
  bool data = false;
  bool attributes = false;
  bool any() const { return data || attributes; }
};

// For one thread. The trees must not change. First Note all, then ask.
class MergeSides {
 public:
  using Views = std::array<const cow::ReadView*, kSides>;
  explicit MergeSides(const Views& views) : views_(views) {}

  // An item that differs between the base and `side`. False: too many, or one that is damaged;
  // `failed` has the error.
  bool Note(Side side, cow::Key key, const std::string_view* base, const std::string_view* other);
  Status failed() const { return failed_; }

  // All names that differ anywhere.
  std::map<PlaceName, SideInodes> Names() const;
  // Inodes of which something but names differs between the base and `side`.
  const std::unordered_set<InodeId>& touched(Side side) const { return touched_[side]; }
  // Requests that were done on `side` since: the items.
  const std::map<cow::Key, std::string>& requests(Side side) const { return requests_[side]; }

  const cow::ReadView& view(Side side) const { return *views_[side]; }
  // Null: it has no such file, or one without a name. Valid until the end of the merge.
  Result<const InodeRecord*> Record(Side side, InodeId ino);
  Result<FileDelta> Compare(Side a, InodeId ino_a, Side b, InodeId ino_b);
  // By one of its names; "/" is the root.
  Result<std::string> PathOf(Side side, InodeId ino);

 private:
  struct NameChange {
    InodeId removed = 0;  // what had the name in the base
    InodeId added = 0;
  };
  Status NoteItem(Side side, cow::Key key, const std::string_view* base,
                  const std::string_view* other);

  const Views views_;
  Status failed_;
  uint64_t items_ = 0;
  std::array<std::map<PlaceName, NameChange>, kSides> names_;
  std::array<std::unordered_set<InodeId>, kSides> touched_, bodies_, xattrs_;
  std::array<std::map<cow::Key, std::string>, kSides> requests_;
  std::array<std::unordered_map<InodeId, std::optional<InodeRecord>>, kSides> records_;
};

}  // namespace prism::fs
