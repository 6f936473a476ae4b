// Carries out the rules of `prism compose` on a volume that nobody works with yet.
//
// What a rule takes away is cut off: its entry and its way up go, and with them all that is below
// becomes unreachable, whatever its size (fs/core/composed_map.h). So a rule costs its path, not
// the files that it is about. The space of what was cut off comes back with the volume.
//
// A *volatile* directory has an item of type kVolatile, whose value is the id of the volume that it
// was emptied for. Whoever opens a volume empties those that were for another: a clone or snapshot
// has none of what its source had there.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/core/composed_map.h"
#include "fs/core/directory.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

// The names on an absolute path. kInvalid: it is none, or "." or ".." are on it; kNameTooLong.
Outcome<std::vector<std::string_view>> SplitPath(std::string_view path);

// What a path leads to, through directories only.
struct Found {
  InodeId ino = kRootInode;
  FileType type = FileType::kDirectory;
};
Outcome<Found> FindPath(const cow::ReadView& view, const HashKeys& keys, std::string_view path);

// For one thread, on a volume that nobody else changes. Paths are absolute, within the volume.
class Composer {
 public:
  Composer(ComposedMap& map, VolumeId volume) : map_(map), keys_(map), volume_(volume) {}

  // An inode of a part, under its number here, becomes `target`; what is there is cut off, and
  // directories that are missing above it are made.
  Outcome<void> Graft(const Found& what, std::string_view target);
  // What the pattern matches is cut off: each name on it may have the wildcards of fnmatch(3). A
  // pattern that matches nothing is no error.
  Outcome<void> Exclude(std::string_view pattern);
  // A directory stays, or is made, with nothing in it.
  Outcome<void> Empty(std::string_view path, bool is_volatile);

  // What is unlinked and held in the base is nobody's here: as if it were not there, until it is
  // freed.
  Status HideOrphans();
  // Empties volatile directories; all, or those that were emptied for another volume. Before the
  // volume's totals are more than it has, which is where any had something in it, `before_losing`.
  Status EmptyVolatile(bool all, FunctionRef<void()> before_losing);

  // Something was cut off that had something in it.
  bool partial() const { return partial_; }

 private:
  struct Place {
    InodeRecord dir;
    std::string_view name;
    EntryProbe probe;
  };
  struct Match {
    InodeId dir = 0;
    std::string name;
  };
  Outcome<Place> FindPlace(cow::WriteTransaction& transaction, std::string_view path);
  Result<InodeId> MakeDirectory(cow::WriteTransaction& transaction, InodeRecord& dir,
                                uint64_t cookie, std::string_view name, const InodeRecord* like);
  Status CutOff(cow::WriteTransaction& transaction, InodeRecord& dir, const FoundEntry& entry);
  Result<InodeId> Replace(cow::WriteTransaction& transaction, InodeRecord& dir,
                          const FoundEntry& entry, std::string_view name);
  Outcome<void> FindMatches(const cow::ReadView& view, InodeId dir,
                            std::span<const std::string_view> names, std::vector<Match>& matches);

  ComposedMap& map_;
  const HashKeys keys_;
  const VolumeId volume_;
  bool partial_ = false;
};

}  // namespace prism::fs
