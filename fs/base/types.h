// Identifiers that cross layers.
#pragma once

#include <cstdint>

namespace prism {

// A volume of this store. Sequential from 1, never used again.
using VolumeId = uint64_t;

// A file within one volume. Sequential, never used again within the volume's lineage, below 2^56
// (the top byte of a tree key holds the item's type). 1 is the root directory.
using InodeId = uint64_t;
inline constexpr InodeId kRootInode = 1;
inline constexpr InodeId kInodeMax = (uint64_t{1} << 56) - 1;

// An immutable piece of content of this store. Sequential from 1, never used again; 0 is a hole.
using ChunkId = uint64_t;

// A position in the journal: the sequence number of a record. 0 is "nothing to wait for".
using Lsn = uint64_t;

}  // namespace prism
