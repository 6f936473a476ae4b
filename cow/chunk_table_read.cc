// How chunks are read: from the cache, or what is missing there in one go from the segments.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>

#include "cow/chunk_table.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr size_t kKeptMin = 16384;  // less is copied faster

std::string_view ViewOf(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

// A part of a chunk, if it is not a small one: it keeps the whole in memory.
bool Keep(const ChunkCache::Bytes& bytes, const ChunkRead& read) {
  if (read.kept == nullptr || read.offset + read.out.size() > bytes->size() ||
      read.out.size() < kKeptMin || read.out.size() < bytes->size() / 2)
    return false;
  *read.kept = {bytes, {bytes->data() + read.offset, read.out.size()}};
  return true;
}

void CopyOut(const ChunkBytes& bytes, const ChunkRead& read) {
  const size_t available = bytes.size() > read.offset ? bytes.size() - read.offset : 0;
  const size_t length = std::min(available, read.out.size());
  if (length > 0) std::memcpy(read.out.data(), bytes.data() + read.offset, length);
  if (length < read.out.size()) std::memset(read.out.data() + length, 0, read.out.size() - length);
}

// Whole units of an uncompressed chunk: they can be verified where they are wanted.
bool IsVerifiable(const ChunkPlace& place, const ChunkRead& read) {
  const size_t end = read.offset + read.out.size();
  return place.codec == Codec::kNone && read.offset % kUnitSize == 0 && !read.out.empty() &&
         (end == place.raw_bytes || (end < place.raw_bytes && end % kUnitSize == 0));
}

}  // namespace

// Stored bytes on their way: straight to who wants them (raw is null), or a whole chunk for the
// cache, from `packed` if it is compressed.
struct ChunkTable::Fetch {
  ChunkRead read;
  ChunkPlace place;
  uint32_t first = 0;  // of the stored bytes
  std::span<std::byte> stored;
  std::shared_ptr<ChunkBytes> raw;
  std::unique_ptr<std::byte[]> packed;

  Fetch(const ChunkRead& wanted, const ChunkPlace& where, ChunkCache& cache)
      : read(wanted), place(where) {
    const bool is_part = read.out.size() < place.raw_bytes;
    if (IsVerifiable(place, read) && (is_part || cache.FirstTime(read.id))) {
      first = read.offset;
      stored = read.out;
      return;
    }
    raw = std::make_shared<ChunkBytes>(place.raw_bytes);
    stored = raw->span();
    if (place.codec == Codec::kNone) return;
    packed = std::make_unique_for_overwrite<std::byte[]>(place.extent.length_bytes);
    stored = {packed.get(), place.extent.length_bytes};
  }
  SegmentRead Where() const { return {place.extent, first, stored}; }
};

Result<ChunkPlace> ChunkTable::PlaceOf(ChunkId id) {
  if (auto place = places_.Find(id)) return *place;
  {
    std::lock_guard lock(mutex_);
    for (const Generation* generation : {&fresh_, &frozen_}) {
      auto it = generation->rows.find(id);
      if (it != generation->rows.end()) return ChunkPlace(it->second);
    }
  }
  PRISM_TRY(LoadPlaces(PlaceCache::FirstOf(id)));
  if (auto place = places_.Find(id)) return *place;
  // Its group has gone already, or its row is damaged, which is then said.
  PRISM_ASSIGN(ChunkRow row, RowOnDisk(id));
  return ChunkPlace(row);
}

Status ChunkTable::LoadPlaces(ChunkId first) {
  PlaceCache::Places places;
  PRISM_TRY(kv_.ScanFrom(Table::kChunk, IdKey(first), [&](std::string_view key, auto value) {
    const ChunkId id = IdFromKey(key);
    if (id - first >= PlaceCache::kGroupChunks) return false;
    if (auto row = ChunkRow::Decode(value)) places[id - first] = ChunkPlace(*row);
    return true;
  }));
  places_.Insert(first, places);
  return {};
}

Status ChunkTable::ReadAll(std::span<const ChunkRead> reads) {
  std::vector<Fetch> fetches;
  std::vector<ChunkRead> again;  // further parts of one that is being fetched
  for (const ChunkRead& read : reads) {
    if (!fetches.empty() && fetches.back().read.id == read.id) {
      again.push_back(read);
      continue;
    }
    if (ChunkCache::Bytes bytes = cache_.Find(read.id)) {
      if (!Keep(bytes, read)) CopyOut(*bytes, read);
      continue;
    }
    PRISM_ASSIGN(const ChunkPlace place, PlaceOf(read.id));
    fetches.emplace_back(read, place, cache_);
  }
  if (fetches.empty()) return {};
  PRISM_TRY(FetchAll(fetches));
  return ReadAll(again);
}

Status ChunkTable::FetchAll(std::vector<Fetch>& fetches) {
  std::vector<SegmentRead> wanted;
  for (const Fetch& fetch : fetches) wanted.push_back(fetch.Where());
  const bool all_read = segments_.Read(wanted).has_value();
  for (const Fetch& fetch : fetches) {
    // If it failed, each by itself: the log then names the chunk.
    std::vector<SegmentRead> one = {fetch.Where()};
    Status status = all_read ? Status() : segments_.Read(one);
    if (status) status = Finish(fetch);
    if (status) continue;
    const Extent& extent = fetch.place.extent;
    spdlog::error("chunk {} does not verify: {} bytes at unit {} of segment {}", fetch.read.id,
                  extent.length_bytes, extent.unit, extent.segment);
    return status;
  }
  return {};
}

Status ChunkTable::Finish(const Fetch& fetch) {
  if (!Verifies(fetch.place.checksums, fetch.first / kUnitSize, fetch.stored))
    return Fail(Err::kCorrupt);
  if (fetch.raw == nullptr) return {};
  if (fetch.packed != nullptr)
    PRISM_TRY(Decompress(fetch.place.codec, ViewOf(fetch.stored), fetch.raw->span()));
  if (!Keep(fetch.raw, fetch.read)) CopyOut(*fetch.raw, fetch.read);
  cache_.Insert(fetch.read.id, fetch.raw);
  return {};
}

}  // namespace prism::cow
