// What a composed volume is made of: which parts of which volumes, at which instant, by which
// rules.
//
// A composed volume's own tree holds what it has alone, and begins as a clone of its base. Each
// graft adds the items of a *part*: a hidden, read-only clone of a source, taken at the cut, whose
// inode numbers are moved into prefixes of their own, prefix << kPrefixShift | number. What the own
// tree holds under such a number is a change of the part's item; an empty value there says that the
// item is gone. Clones and snapshots of the volume share its parts, and the last of them takes them
// along.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "clone/lineage.h"
#include "fs/base/bytes.h"
#include "fs/base/error.h"
#include "fs/base/types.h"

namespace prism::clone {

inline constexpr uint32_t kPrefixShift = kInodeNumberBits;
inline constexpr InodeId kNumberMax = (InodeId{1} << kPrefixShift) - 1;
inline constexpr uint32_t kPrefixesMax = 1 << 8;  // the bit above is for .snapshot
inline constexpr uint8_t kComposeDepthMax = 16;   // parts of parts
inline constexpr size_t kComposeRulesMax = 1024;  // of a volume, with those of its base

struct Graft {
  VolumeId part = 0;
  std::string source;     // the name of what it is a clone of, as it was then
  uint32_t rule = 0;      // which one made it, of Composition::rules
  uint32_t prefix = 0;    // the first of its own
  uint32_t prefixes = 1;  // how many: as many as its source has
  bool read_only = false;
  bool operator==(const Graft&) const = default;
};

struct Composition {
  std::vector<std::string> rules;  // as they were given; none: the volume is not composed
  std::vector<Graft> grafts;       // by prefix
  int64_t cut_sec = 0;
  int64_t cut_nsec = 0;
  uint8_t depth = 0;  // how many parts lie within each other
  // Directories were taken out of the own tree with all that is below them: that is still in it,
  // and no longer part of the volume.
  bool partial = false;
  // The volume's totals are more than there is: they have all of each part, and what was taken out.
  bool uncounted = false;
  // Of numbers without prefix, those that the rules themselves made; the base's are below.
  InodeId made_from = 0;
  InodeId made_until = 0;
  bool operator==(const Composition&) const = default;

  bool composed() const { return !rules.empty(); }
  uint32_t prefixes() const {
    return grafts.empty() ? 1 : grafts.back().prefix + grafts.back().prefixes;
  }
};

void PutComposition(ByteWriter& writer, const Composition& composition);
Result<Composition> GetComposition(ByteReader& reader);  // kCorrupt

}  // namespace prism::clone
