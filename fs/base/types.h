// Identifiers that cross layers.
#pragma once

#include <cstdint>

namespace prism {

// A volume of this store. Sequential from 1, never used again.
using VolumeId = uint64_t;

// A file within one volume. Never used again within the volume's lineage, below 2^60 (the top four
// bits of a tree key hold the item's type). 1 is the root directory. Bits 0 to 50 are a number that
// no relative of the volume gives to another file (clone/lineage.h), bits 51 to 58 the part of a
// composed volume that it came with, bit 59 is for snapshots seen inside of a mount.
using InodeId = uint64_t;
inline constexpr InodeId kRootInode = 1;
inline constexpr InodeId kInodeMax = (uint64_t{1} << 60) - 1;

// An immutable piece of content of this store. Sequential from 1, never used again; 0 is a hole.
using ChunkId = uint64_t;

// A position in the journal: the sequence number of a record. 0 is "nothing to wait for".
using Lsn = uint64_t;

}  // namespace prism
