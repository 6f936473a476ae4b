// What going back to a snapshot in one place alone concerns: of mine, the snapshot, into theirs,
// the volume, which is the base as well.
//
// Nothing outside of the place changes. So what is in the snapshot's place, and in the volume has
// come to be outside of it as well, or only, comes back under a new number: a directory that was
// moved out with all below it, a file that has come to have names outside, or that always had some
// and has changed since. Costs what the changes cost, and the size of directories that were moved
// out or in.
#pragma once

#include <map>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fs/base/failure.h"
#include "fs/core/diff_items.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/merge_sides.h"

namespace prism::fs {

struct PathChoice {
  std::map<PlaceName, SideInodes> names;        // by the result's numbers of directories
  std::unordered_map<InodeId, InodeId> copies;  // numbers in the snapshot, those of the result
  std::unordered_set<InodeId> restored;         // are what they were, under their numbers
};

// For one thread, once, after all has been noted.
class PathChooser {
 public:
  // New numbers begin at `next`.
  PathChooser(MergeSides& sides, const HashKey& key, InodeId next)
      : sides_(sides), key_(key), next_(next) {}

  // kInvalid: no path, or the root. kNoEntry: it is not in the snapshot, or what it was in is gone.
  Outcome<void> Choose(std::string_view path);
  const PathChoice& choice() const { return choice_; }

 private:
  Outcome<void> FindTops(std::string_view path);
  Status ChooseAll();
  Status ChooseName(const PlaceName& place, InodeId mine, InodeId theirs);
  Result<bool> IsInside(Side side, InodeId dir);
  Result<bool> IsInside(Side side, const ParentName& name);
  Status Leave(InodeId ino);
  Status Arrive(InodeId ino);
  Status ChooseFile(InodeId ino);
  Status ChooseDirectory(InodeId ino);
  Status Split(InodeId ino, const std::vector<ParentName>& names);
  void Set(const PlaceName& place, InodeId mine, InodeId theirs) {
    choice_.names[place] = {theirs, mine, theirs};
  }

  MergeSides& sides_;
  const HashKey key_;
  InodeId next_;
  PathChoice choice_;
  SideInodes parents_{}, tops_{};
  std::string name_;  // of the place, in its directory
  std::unordered_set<InodeId> left_;
  std::array<std::unordered_map<InodeId, bool>, kSides> inside_;
};

}  // namespace prism::fs
