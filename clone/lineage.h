// Which content descends from which, so that the common ancestor of two volumes is known exactly.
//
// A volume's life between its making (or its being given another tree: a rollback, a rebase) and
// the next is a line, whose number is never used again. A place on a line is the journal position
// of the last change that it contains. A clone remembers the places that its content has come
// through; so does a snapshot, of which the last one is its own place. Nothing of this keeps space:
// whether a snapshot of a place still exists is looked up when it is asked for.
//
// Files made on different lines have different inode numbers (FirstInode), so that what has one
// number in two relatives is one file, and no number that a client of one holds means another
// file in the other.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "fs/base/types.h"

namespace prism::clone {

struct Place {
  uint64_t line = 0;
  Lsn at = 0;
  bool operator==(const Place&) const = default;
};

using Lineage = std::vector<Place>;  // the oldest first, each of another line

inline constexpr size_t kLineageMax = 64;  // older places are forgotten

// The lineage of what is made of content at `place`, which has come through `past`.
Lineage Continue(Lineage past, Place place);
// Where both were last the same; nullopt: they are not related, as far as is remembered.
std::optional<Place> CommonPlace(const Lineage& a, const Lineage& b);
// Whether the content at the end of `lineage` has come through `place`.
bool DescendsFrom(const Lineage& lineage, Place place);

// The line that begins with a journal record. Those of new volumes have the volumes' ids.
inline uint64_t LineOfRecord(Lsn lsn) { return lsn | uint64_t{1} << 63; }

// Numbers of files that volume `id` makes begin here, where its source has not come so far: 2^26
// each, of 2^25 volumes. They can only meet again where a volume makes more, or a store more
// volumes. What is above them is for composed volumes and for looking at snapshots.
inline constexpr int kInodeLineBits = 26;
inline constexpr int kInodeNumberBits = 51;
inline InodeId FirstInode(VolumeId id) {
  return (id << kInodeLineBits) & ((InodeId{1} << kInodeNumberBits) - 1);
}

}  // namespace prism::clone
