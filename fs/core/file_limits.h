// Bounds of the data path.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fs/contract/limits.h"

namespace prism::fs {

// A file of at most this many bytes is one kInlineData item.
inline constexpr size_t kInlineMax = 2048;

// Blocks that one transaction of a flush carries: 16 MiB of data.
inline constexpr size_t kFlushBlocksMax = 256;

// A file with so many full blocks waiting is saved early (a large request of NFS or FUSE, and what
// is stored together); with so many times more, its writers wait for that.
inline constexpr size_t kEarlyBlocks = 16;
inline constexpr size_t kEarlyFactor = 8;

// Items that one transaction erases or copies.
inline constexpr size_t kItemsPerStep = 1000;

// More separate ranges than this in one block are flushed at once, so that a client that writes
// every other byte does not make lists of them.
inline constexpr size_t kRangesMax = 256;

inline bool FitsInFile(uint64_t offset, uint64_t length) {
  return offset <= kFileSizeMax && length <= kFileSizeMax - offset;
}

}  // namespace prism::fs
