// Bringing the changes of two volumes together, file by file.
//
// Base is what both come from, mine has the changes that are to be kept, theirs is what they are
// put upon. A file is the same one where its inode number is, whatever its names; and where a name
// was given to another file on one side or both, as editors and package managers replace files. A
// directory that both made under one name is one directory.
//
// Names, data (bytes of a file, target of a symlink) and attributes (mode, owner, device, extended
// attributes and ACLs) are merged each for itself: a file that one side has changed in data and
// the other in attributes, or renamed, has both. It is a conflict where both sides have made
// different things of the same: of a name, of data, of attributes; where one has deleted what the
// other has changed, renamed or put something into; and where directories would be within each
// other. Times are never conflicts: mtime goes with the data.
//
// Of a conflict that is decided for a side, that side's version is taken whole: of all names and
// files that are connected by it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prism::fs {

enum class OnConflict : uint8_t { kStop, kMine, kTheirs };

inline constexpr size_t kConflictsListedMax = 10000;

struct MergeOptions {
  OnConflict on_conflict = OnConflict::kStop;
  bool dry_run = false;  // only say what would be
  std::string from;      // the base, a snapshot; empty: the last that both have come through
  std::string keep;      // label of the snapshot of what was before; empty: one with the time
};

struct MergeConflict {
  std::string path;  // as in mine, or else in theirs
  std::string mine;  // what has become of it: "deleted", "changed data, renamed to /x"
  std::string theirs;
};

// What has happened to one volume.
struct MergeReport {
  std::string volume;
  std::string from;  // the snapshot that was the base
  std::string kept;  // the snapshot of what was before: rolling back to it undoes all. Empty: none
  bool done = false;
  // Of mine, in what came out: files.
  uint64_t added = 0;
  uint64_t removed = 0;
  uint64_t renamed = 0;
  uint64_t changed = 0;
  uint64_t conflict_count = 0;           // of all; those decided too
  std::vector<MergeConflict> conflicts;  // kConflictsListedMax at most, by path
};

}  // namespace prism::fs
