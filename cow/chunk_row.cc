#include "cow/chunk_row.h"

#include <lz4.h>
#if defined(__x86_64__)
#include <xxh_x86dispatch.h>  // xxhash.h with the widest instructions that the processor has
#else
#include <xxhash.h>
#endif
#include <zstd.h>

#include <algorithm>

#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr int kZstdLevel = 1;
// Content that does not compress shows it at the start; asking 4 KiB first costs little.
constexpr size_t kProbeBytes = 4096;
constexpr size_t kProbeFromBytes = 16384;

std::string CompressWith(Codec codec, const char* data, size_t length) {
  std::string out;
  if (codec == Codec::kLz4) {
    out.resize(static_cast<size_t>(LZ4_compressBound(static_cast<int>(length))));
    int size = LZ4_compress_default(data, out.data(), static_cast<int>(length),
                                    static_cast<int>(out.size()));
    out.resize(size > 0 ? static_cast<size_t>(size) : 0);
  } else {
    out.resize(ZSTD_compressBound(length));
    size_t size = ZSTD_compress(out.data(), out.size(), data, length, kZstdLevel);
    out.resize(ZSTD_isError(size) ? 0 : size);
  }
  return out;
}

size_t UnitsOf(size_t size_bytes) { return (size_bytes + kUnitSize - 1) / kUnitSize; }

uint32_t ChecksumOf(std::string_view unit) {
  return static_cast<uint32_t>(XXH3_64bits(unit.data(), unit.size()));
}

}  // namespace

UnitChecksums ChecksumsOf(std::string_view stored) {
  PRISM_CHECK(stored.size() <= kBlockSize);
  UnitChecksums checksums{};
  for (size_t unit = 0; unit < UnitsOf(stored.size()); ++unit)
    checksums[unit] = ChecksumOf(stored.substr(unit * kUnitSize, kUnitSize));
  return checksums;
}

bool Verifies(const UnitChecksums& checksums, size_t first, std::span<const std::byte> part) {
  PRISM_CHECK(first + UnitsOf(part.size()) <= checksums.size());
  const std::string_view bytes(reinterpret_cast<const char*>(part.data()), part.size());
  for (size_t unit = 0; unit < UnitsOf(bytes.size()); ++unit)
    if (ChecksumOf(bytes.substr(unit * kUnitSize, kUnitSize)) != checksums[first + unit])
      return false;
  return true;
}

void ChunkRow::EncodeTo(std::string& out) const {
  ByteWriter writer(out);
  writer.PutBytes({reinterpret_cast<const char*>(hash.data()), hash.size()});
  writer.Put(extent.segment);
  writer.Put(extent.unit);
  writer.Put(extent.length_bytes);
  writer.Put(raw_bytes);
  writer.Put(codec);
  writer.Put(references);
  for (size_t unit = 0; unit < UnitsOf(extent.length_bytes); ++unit) writer.Put(checksums[unit]);
}

Result<ChunkRow> ChunkRow::Decode(std::string_view bytes) {
  ByteReader reader(bytes);
  Result<ChunkRow> row = DecodeFrom(reader);
  if (row && !reader.Finished()) return Fail(Err::kCorrupt);
  return row;
}

Result<ChunkRow> ChunkRow::DecodeFrom(ByteReader& reader) {
  ChunkRow row;
  std::string_view hash = reader.GetBytes(row.hash.size());
  std::copy(hash.begin(), hash.end(), row.hash.begin());
  row.extent.segment = reader.Get<uint32_t>();
  row.extent.unit = reader.Get<uint32_t>();
  row.extent.length_bytes = reader.Get<uint32_t>();
  row.raw_bytes = reader.Get<uint32_t>();
  row.codec = reader.Get<Codec>();
  row.references = reader.Get<int64_t>();
  if (row.codec > Codec::kZstd || row.raw_bytes == 0 || row.raw_bytes > kBlockSize ||
      row.extent.length_bytes == 0 || row.extent.length_bytes > row.raw_bytes ||
      (row.codec == Codec::kNone && row.extent.length_bytes != row.raw_bytes) || row.references < 0)
    return Fail(Err::kCorrupt);
  for (size_t unit = 0; unit < UnitsOf(row.extent.length_bytes); ++unit)
    row.checksums[unit] = reader.Get<uint32_t>();
  if (reader.failed()) return Fail(Err::kCorrupt);
  return row;
}

std::string Compress(Codec codec, std::span<const std::byte> data) {
  if (codec == Codec::kNone || data.size() <= SegmentStore::kUnitBytes) return {};
  const char* bytes = reinterpret_cast<const char*>(data.data());
  if (data.size() >= kProbeFromBytes &&
      CompressWith(Codec::kLz4, bytes, kProbeBytes).size() > kProbeBytes * 15 / 16)
    return {};
  std::string out = CompressWith(codec, bytes, data.size());
  auto units = [](size_t size) {
    return (size + SegmentStore::kUnitBytes - 1) / SegmentStore::kUnitBytes;
  };
  if (units(out.size()) >= units(data.size())) out.clear();
  return out;
}

Status Decompress(Codec codec, std::string_view stored, std::span<std::byte> out) {
  char* to = reinterpret_cast<char*>(out.data());
  bool ok = false;
  if (codec == Codec::kLz4) {
    int size = LZ4_decompress_safe(stored.data(), to, static_cast<int>(stored.size()),
                                   static_cast<int>(out.size()));
    ok = size >= 0 && static_cast<size_t>(size) == out.size();
  } else if (codec == Codec::kZstd) {
    ok = ZSTD_decompress(to, out.size(), stored.data(), stored.size()) == out.size();
  }
  if (!ok) return Fail(Err::kCorrupt);
  return {};
}

}  // namespace prism::cow
