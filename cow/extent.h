// Where the data of one 64 KiB block of a file is: the value of a kExtent item.
//
// A file's data is cut at fixed offsets into blocks of kBlockSize; within a block, pieces of whole
// units of kUnitSize refer to parts of chunks. Units no piece covers are holes. A freshly written
// block is one piece; small overwrites add pieces of a few units, so that a database page does not
// rewrite 64 KiB. Bytes of a piece beyond its chunk's length read as zeros (a file's short tail).
//
// Value: per piece, in order of unit: unit u8, units u8, chunk_unit u8, stored_kib u8, chunk id
// u64, little-endian.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/types.h"

namespace prism::cow {

inline constexpr uint32_t kBlockSize = 64 * 1024;
inline constexpr uint32_t kUnitSize = 4 * 1024;
inline constexpr uint32_t kUnitsPerBlock = kBlockSize / kUnitSize;
inline constexpr size_t kPieceBytes = 12;

struct Piece {
  uint8_t unit = 0;        // first unit within the block
  uint8_t units = 0;       // 1..kUnitsPerBlock
  uint8_t chunk_unit = 0;  // where in the chunk the first unit's bytes begin
  ChunkId chunk = 0;
  // What the whole chunk occupies on the medium, so that who refers to it is charged for it without
  // a look into the chunk's row.
  uint8_t stored_kib = 0;
  bool operator==(const Piece&) const = default;
};

std::string EncodeExtent(const std::vector<Piece>& pieces);

// kCorrupt if the pieces are not ordered, overlap, or leave the block.
Result<std::vector<Piece>> DecodeExtent(std::string_view value);

}  // namespace prism::cow
