// What a comparison of volumes asks of their items, besides what fs/core/directory.h knows.
#pragma once

#include <string>
#include <vector>

#include "cow/volume_map.h"

namespace prism::fs {

inline constexpr size_t kPathDepthMax = 100000;  // directories within each other

struct ParentName {
  InodeId dir = 0;
  uint64_t cookie = 0;
  std::string name;
};
// kCorrupt: the way back does not lead to an entry.
Result<ParentName> NameOfDirectory(const cow::ReadView& view, InodeId dir);
Result<std::vector<ParentName>> NamesOf(const cow::ReadView& view, InodeId ino);

// Of two inodes of two volumes.
Result<bool> SameXattrs(const cow::ReadView& a, InodeId ino_a, const cow::ReadView& b,
                        InodeId ino_b);
// Whether the items say that the bodies are alike; else `blocks` get those where they differ.
Result<bool> SameBody(const cow::ReadView& a, InodeId ino_a, const cow::ReadView& b, InodeId ino_b,
                      std::vector<uint64_t>& blocks);

// From the root, by one of its names: by `likely`, if it has that.
Result<std::string> PathOf(const cow::ReadView& view, InodeId ino, std::string_view likely);

}  // namespace prism::fs
