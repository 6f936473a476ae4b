#include "cow/extent.h"

#include "fs/base/bytes.h"
#include "fs/base/check.h"

namespace prism::cow {

std::string EncodeExtent(const std::vector<Piece>& pieces) {
  std::string value;
  value.reserve(pieces.size() * kPieceBytes);
  ByteWriter writer(value);
  uint32_t next_unit = 0;
  for (const Piece& piece : pieces) {
    PRISM_CHECK(piece.unit >= next_unit && piece.units > 0 && piece.chunk != 0);
    next_unit = piece.unit + piece.units;
    PRISM_CHECK(next_unit <= kUnitsPerBlock);
    writer.Put(piece.unit);
    writer.Put(piece.units);
    writer.Put(piece.chunk_unit);
    writer.Put(piece.stored_kib);
    writer.Put(piece.chunk);
  }
  return value;
}

Result<std::vector<Piece>> DecodeExtent(std::string_view value) {
  if (value.size() % kPieceBytes != 0 || value.size() > kPieceBytes * kUnitsPerBlock)
    return Fail(Err::kCorrupt);
  std::vector<Piece> pieces;
  pieces.reserve(value.size() / kPieceBytes);
  ByteReader reader(value);
  uint32_t next_unit = 0;
  while (reader.remaining() > 0) {
    Piece piece;
    piece.unit = reader.Get<uint8_t>();
    piece.units = reader.Get<uint8_t>();
    piece.chunk_unit = reader.Get<uint8_t>();
    piece.stored_kib = reader.Get<uint8_t>();
    piece.chunk = reader.Get<uint64_t>();
    if (piece.unit < next_unit || piece.units == 0 || piece.chunk == 0) return Fail(Err::kCorrupt);
    next_unit = piece.unit + piece.units;
    if (next_unit > kUnitsPerBlock) return Fail(Err::kCorrupt);
    pieces.push_back(piece);
  }
  return pieces;
}

}  // namespace prism::cow
