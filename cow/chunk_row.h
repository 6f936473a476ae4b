// The row of one chunk: where its bytes are, how they verify, how many pieces refer to it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "cow/content_hash.h"
#include "cow/extent.h"
#include "cow/segment_store.h"
#include "fs/base/bytes.h"

namespace prism::cow {

enum class Codec : uint8_t { kNone = 0, kLz4 = 1, kZstd = 2 };  // on disk: never renumber

// Of each unit of the *stored* bytes, the low half of its XXH3-64: a part of an uncompressed chunk
// can be verified by itself. Those beyond the stored bytes are 0.
using UnitChecksums = std::array<uint32_t, kUnitsPerBlock>;

UnitChecksums ChecksumsOf(std::string_view stored);
// `part` begins with unit `first`, and ends with a unit's end or that of the stored bytes.
bool Verifies(const UnitChecksums& checksums, size_t first, std::span<const std::byte> part);

struct ChunkRow {
  ContentHash hash{};
  Extent extent;           // its length is that of the stored bytes
  uint32_t raw_bytes = 0;  // uncompressed
  Codec codec = Codec::kNone;
  UnitChecksums checksums{};
  int64_t references = 0;  // as of the last checkpoint

  void EncodeTo(std::string& out) const;
  static Result<ChunkRow> Decode(std::string_view bytes);
  static Result<ChunkRow> DecodeFrom(ByteReader& reader);  // a row, and what follows is left
};

// Compressed bytes, or empty if that would not save at least one unit of the medium.
std::string Compress(Codec codec, std::span<const std::byte> data);
// Exactly out.size() bytes, or kCorrupt.
Status Decompress(Codec codec, std::string_view stored, std::span<std::byte> out);

}  // namespace prism::cow
