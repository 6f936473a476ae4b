#include "cow/chunk_table.h"

#include <spdlog/spdlog.h>
#include <xxhash.h>

#include <shared_mutex>

#include "cow/extent.h"
#include "cow/record.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

uint64_t ChecksumOf(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

std::string_view ViewOf(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

ChunkTable::HashKey ChunkTable::KeyOf(const ContentHash& hash) {
  return HashKey(reinterpret_cast<const char*>(hash.data()), 16);
}

Result<ChunkPin> ChunkTable::Put(std::span<const std::byte> data) {
  PRISM_CHECK(!data.empty() && data.size() <= kBlockSize);
  ContentHash hash = HashContent(data);
  PRISM_ASSIGN(ChunkId known, FindAndPin(hash));
  if (known != 0) return ChunkPin(this, known);
  return Store(hash, data);
}

// REQUIRES: mutex_.
ChunkId ChunkTable::FindInMemory(const ContentHash& hash) const {
  HashKey key = KeyOf(hash);
  for (const Generation* generation : {&fresh_, &frozen_}) {
    auto it = generation->by_hash.find(key);
    if (it == generation->by_hash.end() || dying_.contains(it->second)) continue;
    if (generation->rows.at(it->second).hash == hash) return it->second;
  }
  return 0;
}

// A chunk found on disk may be removed by a checkpoint while we look: then look again.
Result<ChunkId> ChunkTable::FindAndPin(const ContentHash& hash) {
  std::string key = KeyOf(hash);
  for (;;) {
    uint64_t removals;
    {
      std::lock_guard lock(mutex_);
      if (ChunkId id = FindInMemory(hash); id != 0) {
        ++pins_[id];
        return id;
      }
      removals = removals_;
    }
    std::string value;
    PRISM_ASSIGN(bool found, kv_.Get(Table::kFingerprint, key, value));
    if (!found) return ChunkId{0};
    ChunkId id = IdFromKey(value);
    Result<ChunkRow> row = RowOnDisk(id);
    std::lock_guard lock(mutex_);
    if (removals_ != removals) continue;
    if (!row) return Fail(row.error());
    if (row->hash != hash || dying_.contains(id)) return ChunkId{0};
    ++pins_[id];
    return id;
  }
}

Result<ChunkPin> ChunkTable::Store(const ContentHash& hash, std::span<const std::byte> data) {
  std::string compressed = Compress(options_.codec, data);
  std::string_view stored = compressed.empty() ? ViewOf(data) : std::string_view(compressed);
  ChunkRow row;
  row.hash = hash;
  row.raw_bytes = static_cast<uint32_t>(data.size());
  row.codec = compressed.empty() ? Codec::kNone : options_.codec;
  row.checksum = ChecksumOf(stored);
  PRISM_ASSIGN(row.extent, segments_.Write(stored));

  std::shared_lock gate(gate_);
  std::unique_lock lock(mutex_);
  if (ChunkId id = FindInMemory(hash); id != 0) {  // somebody stored the same meanwhile
    ++pins_[id];
    lock.unlock();
    segments_.Free({row.extent});
    return ChunkPin(this, id);
  }
  ChunkId id = next_id_++;
  std::string payload;
  ByteWriter writer(payload);
  writer.Put(RecordType::kChunk);
  writer.Put(id);
  row.EncodeTo(payload);
  journal_.Append(payload);
  Register(id, row);
  ++pins_[id];
  return ChunkPin(this, id);
}

// REQUIRES: mutex_.
void ChunkTable::Register(ChunkId id, const ChunkRow& row) {
  fresh_.rows[id] = row;
  fresh_.by_hash[KeyOf(row.hash)] = id;
  ++count_;
  unique_bytes_ += row.raw_bytes;
  UpdatePending();
}

void ChunkTable::UpdatePending() {
  pending_.store(fresh_.rows.size() + delta_.size(), std::memory_order_relaxed);
}

void ChunkTable::Unpin(ChunkId id) {
  std::lock_guard lock(mutex_);
  auto it = pins_.find(id);
  PRISM_CHECK(it != pins_.end());
  if (--it->second == 0) pins_.erase(it);
}

void ChunkTable::AddReference(ChunkId id, int64_t delta) {
  std::lock_guard lock(mutex_);
  delta_[id] += delta;  // stays even at 0: it says that somebody touched the chunk since the Freeze
  UpdatePending();
}

Result<ChunkRow> ChunkTable::RowOnDisk(ChunkId id) {
  std::string value;
  PRISM_ASSIGN(bool found, kv_.Get(Table::kChunk, IdKey(id), value));
  Result<ChunkRow> row = found ? ChunkRow::Decode(value) : Fail(Err::kCorrupt);
  if (!row) spdlog::error("chunk {}: its row {}", id, found ? "does not decode" : "is missing");
  return row;
}

Result<ChunkRow> ChunkTable::RowOf(ChunkId id) {
  {
    std::lock_guard lock(mutex_);
    for (const Generation* generation : {&fresh_, &frozen_}) {
      auto it = generation->rows.find(id);
      if (it != generation->rows.end()) return it->second;
    }
  }
  return RowOnDisk(id);
}

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

Status ChunkTable::Read(ChunkId id, uint32_t offset, std::span<std::byte> out) {
  ChunkCache::Bytes bytes = cache_.Find(id);
  if (bytes == nullptr) {
    PRISM_ASSIGN(bytes, ReadWhole(id));
    cache_.Insert(id, bytes);
  }
  size_t available = bytes->size() > offset ? bytes->size() - offset : 0;
  size_t length = std::min(available, out.size());
  if (length > 0) std::memcpy(out.data(), bytes->data() + offset, length);
  if (length < out.size()) std::memset(out.data() + length, 0, out.size() - length);
  return {};
}

Result<ChunkCache::Bytes> ChunkTable::ReadWhole(ChunkId id) {
  PRISM_ASSIGN(ChunkPlace place, PlaceOf(id));
  // Compressed bytes are needed only here; uncompressed ones are what the cache keeps.
  thread_local const auto scratch = std::make_unique<std::byte[]>(kBlockSize);
  const bool compressed = place.codec != Codec::kNone;
  auto raw = std::make_shared<ChunkBytes>(place.raw_bytes);
  std::span<std::byte> stored(compressed ? scratch.get() : raw->span().data(),
                              place.extent.length_bytes);
  if (!compressed && stored.size() != raw->size()) return Fail(Err::kCorrupt);
  Status read = segments_.Read(place.extent, stored);
  if (read && ChecksumOf(ViewOf(stored)) != place.checksum) read = Fail(Err::kCorrupt);
  if (read && compressed) read = Decompress(place.codec, ViewOf(stored), raw->span());
  if (!read) {
    spdlog::error("chunk {} does not verify: {} bytes at unit {} of segment {}", id,
                  place.extent.length_bytes, place.extent.unit, place.extent.segment);
    return Fail(read.error());
  }
  return ChunkCache::Bytes(std::move(raw));
}

Result<uint64_t> ChunkTable::ExclusiveBytes(
    const std::unordered_map<ChunkId, int64_t>& references) {
  constexpr uint64_t kUnit = SegmentStore::kUnitBytes;
  uint64_t total = 0;
  for (const auto& [id, count] : references) {
    PRISM_ASSIGN(ChunkRow row, RowOf(id));
    {
      std::lock_guard lock(mutex_);
      if (auto it = delta_.find(id); it != delta_.end()) row.references += it->second;
    }
    if (row.references == count) total += (row.extent.length_bytes + kUnit - 1) / kUnit * kUnit;
  }
  return total;
}

}  // namespace prism::cow
