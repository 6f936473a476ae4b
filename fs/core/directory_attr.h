// What the change of an entry does to the attributes of its directory and of the file.
#pragma once

#include <cstdint>

#include "fs/contract/attr.h"
#include "fs/core/directory.h"

namespace prism::fs {

// entries: how many more; subdirectories: how many of them are directories.
inline void TouchDirectory(Attr& dir, const Timespec& now, int entries, int subdirectories) {
  dir.size += static_cast<uint64_t>(entries) * kEntrySize;  // modular: also a negative number
  dir.nlink += static_cast<uint32_t>(subdirectories);
  dir.mtime = dir.ctime = now;
  ++dir.change;
}

inline void TouchInode(Attr& attr, const Timespec& now) {
  attr.ctime = now;
  ++attr.change;
}

}  // namespace prism::fs
