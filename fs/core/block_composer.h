// Turns new bytes of one block into chunks, and the block's old pieces into its new ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "cow/extent.h"
#include "cow/volume_map.h"
#include "fs/core/dirty_block.h"

namespace prism::fs {

// Which block is meant, for logs.
struct BlockName {
  VolumeId volume = 0;
  InodeId ino = 0;
  uint64_t block = 0;
};

struct BlockInput {
  std::vector<cow::Piece> old;              // what the map has of this block
  const DirtyBlock* dirty = nullptr;        // laid over it; may be absent
  std::span<const std::byte> inline_bytes;  // instead of `old`: the file's body was inline
  uint32_t end = 0;                         // the file ends here within the block, or beyond it
};

struct ComposedBlock {
  std::vector<cow::Piece> pieces;   // empty: a hole
  std::vector<cow::ChunkPin> pins;  // of new chunks, until the pieces are committed
};

// More pieces than this are rewritten as one chunk.
inline constexpr size_t kPiecesMax = 8;

// Fresh blocks, and those that are wholly overwritten, become one chunk that ends where the file
// does; otherwise the touched units become pieces of their own. Units of zeros become holes.
// The old pieces' chunks must not go meanwhile: the caller holds the file's flush lock, under which
// alone its pieces change.
Result<ComposedBlock> ComposeBlock(cow::ChunkStore& store, const BlockName& name, BlockInput input);

// Several in one go, whose chunks then lie together.
struct NamedInput {
  BlockName name;
  BlockInput input;
};
Result<std::vector<ComposedBlock>> ComposeBlocks(cow::ChunkStore& store,
                                                 std::span<const NamedInput> blocks);

// What to read for bytes [offset, offset + out.size()) of a block goes to `reads`; holes are zeros
// of `out` at once.
void PlanPieces(std::span<const cow::Piece> pieces, uint32_t offset, std::span<std::byte> out,
                std::vector<cow::ChunkRead>& reads);

// What a block's pieces add to the file's used_bytes.
uint64_t UsedBytes(std::span<const cow::Piece> pieces);

// The parts of `pieces` outside (keep == false) or inside (keep == true) of the units in `mask`.
std::vector<cow::Piece> SelectUnits(std::span<const cow::Piece> pieces, uint32_t mask, bool keep);
// Two sets of pieces that do not overlap, in order; neighbours within one chunk become one.
std::vector<cow::Piece> MergePieces(std::vector<cow::Piece> a, const std::vector<cow::Piece>& b);

}  // namespace prism::fs
