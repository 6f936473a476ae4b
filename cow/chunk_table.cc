#include "cow/chunk_table.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <shared_mutex>

#include "cow/extent.h"
#include "cow/record.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

constexpr size_t kCarriedMax = 8u << 10;
constexpr size_t kCarriedTogetherMax = 64u << 10;

std::string_view ViewOf(std::span<const std::byte> data) {
  return {reinterpret_cast<const char*>(data.data()), data.size()};
}

}  // namespace

ChunkTable::HashKey ChunkTable::KeyOf(const ContentHash& hash) {
  return HashKey(reinterpret_cast<const char*>(hash.data()), 16);
}

// Content on its way to the medium.
struct ChunkTable::NewChunk {
  size_t index = 0;  // of the caller's contents
  std::span<const std::byte> data;
  ChunkRow row;
  std::string compressed;
  std::string_view stored;
  bool carried = false;

  void Pack(Codec codec) {
    compressed = Compress(codec, data);
    stored = compressed.empty() ? ViewOf(data) : std::string_view(compressed);
    row.raw_bytes = static_cast<uint32_t>(data.size());
    row.codec = compressed.empty() ? Codec::kNone : codec;
    row.checksums = ChecksumsOf(stored);
  }
};

Result<std::vector<ChunkPin>> ChunkTable::PutAll(Contents contents) {
  std::vector<ChunkPin> pins(contents.size());
  std::vector<NewChunk> chunks;
  std::vector<std::pair<size_t, ContentHash>> again;  // content that came twice
  for (const auto& content : contents)
    PRISM_CHECK(!content.empty() && content.size() <= kBlockSize);
  const std::vector<ContentHash> hashes = HashContents(contents);
  for (size_t i = 0; i < contents.size(); ++i) {
    const ContentHash& hash = hashes[i];
    if (std::any_of(chunks.begin(), chunks.end(),
                    [&](const NewChunk& chunk) { return chunk.row.hash == hash; })) {
      again.emplace_back(i, hash);
      continue;
    }
    PRISM_ASSIGN(pins[i], FindAndPin(hash));
    if (pins[i].id() != 0) continue;
    NewChunk& chunk = chunks.emplace_back();
    chunk.index = i;
    chunk.data = contents[i];
    chunk.row.hash = hash;
  }
  PRISM_TRY(Store(chunks));
  for (const NewChunk& chunk : chunks) pins[chunk.index] = Publish(chunk);
  for (const auto& [index, hash] : again) {
    PRISM_ASSIGN(pins[index], FindAndPin(hash));
    PRISM_CHECK(pins[index].id() != 0);
  }
  return pins;
}

// REQUIRES: mutex_.
ChunkId ChunkTable::FindInMemory(const ContentHash& hash, const ChunkRow*& row) const {
  HashKey key = KeyOf(hash);
  for (const Generation* generation : {&fresh_, &frozen_}) {
    auto it = generation->by_hash.find(key);
    if (it == generation->by_hash.end() || dying_.contains(it->second)) continue;
    row = &generation->rows.at(it->second);
    if (row->hash == hash) return it->second;
  }
  return 0;
}

// REQUIRES: mutex_.
ChunkPin ChunkTable::PinLocked(ChunkId id, const ChunkRow& row) {
  ++pins_[id];
  return ChunkPin(this, id, StoredKib(row.extent));
}

// A chunk found on disk may be removed by a checkpoint while we look: then look again.
Result<ChunkPin> ChunkTable::FindAndPin(const ContentHash& hash) {
  std::string key = KeyOf(hash);
  for (;;) {
    uint64_t removals;
    {
      std::lock_guard lock(mutex_);
      const ChunkRow* row = nullptr;
      if (ChunkId id = FindInMemory(hash, row); id != 0) return PinLocked(id, *row);
      removals = removals_;
    }
    std::string value;
    PRISM_ASSIGN(bool found, kv_.Get(Table::kFingerprint, key, value));
    if (!found) return ChunkPin();
    ChunkId id = IdFromKey(value);
    Result<ChunkRow> row = RowOnDisk(id);
    std::lock_guard lock(mutex_);
    if (removals_ != removals) continue;
    if (!row) return Fail(row.error());
    if (row->hash != hash || dying_.contains(id)) return ChunkPin();
    return PinLocked(id, *row);
  }
}

Status ChunkTable::Store(std::vector<NewChunk>& chunks) {
  if (chunks.empty()) return {};
  std::vector<std::string_view> stored;
  size_t size_bytes = 0;
  for (NewChunk& chunk : chunks) {
    chunk.Pack(options_.codec);
    stored.push_back(chunk.stored);
    size_bytes += chunk.stored.size();
  }
  const bool carried = MayCarry(size_bytes);
  PRISM_ASSIGN(const std::vector<Extent> extents, segments_.Write(stored, !carried));
  for (size_t i = 0; i < chunks.size(); ++i) {
    chunks[i].row.extent = extents[i];
    chunks[i].carried = carried;
  }
  return {};
}

ChunkPin ChunkTable::Publish(const NewChunk& chunk) {
  std::shared_lock gate(gate_);
  std::unique_lock lock(mutex_);
  const ChunkRow* known = nullptr;
  if (ChunkId id = FindInMemory(chunk.row.hash, known); id != 0) {  // stored by another meanwhile
    ChunkPin pin = PinLocked(id, *known);
    lock.unlock();
    segments_.Free({chunk.row.extent});
    return pin;
  }
  ChunkId id = next_id_++;
  std::string payload;
  ByteWriter writer(payload);
  writer.Put(RecordType::kChunk);
  writer.Put(id);
  chunk.row.EncodeTo(payload);
  if (chunk.carried) writer.PutBytes(chunk.stored);
  journal_.Append(payload);
  Register(id, chunk.row);
  return PinLocked(id, chunk.row);
}

// What the next leader writes is small, and nothing else makes it sync a segment: then the journal
// takes the bytes too, and one sync does.
bool ChunkTable::MayCarry(size_t stored_bytes) const {
  return stored_bytes <= kCarriedMax &&
         journal_.buffered_bytes() + stored_bytes <= kCarriedTogetherMax && !segments_.NeedsSync();
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

Result<uint64_t> ChunkTable::ExclusiveBytes(
    const std::unordered_map<ChunkId, int64_t>& references) {
  uint64_t total = 0;
  for (const auto& [id, count] : references) {
    PRISM_ASSIGN(ChunkRow row, RowOf(id));
    {
      std::lock_guard lock(mutex_);
      if (auto it = delta_.find(id); it != delta_.end()) row.references += it->second;
    }
    if (row.references == count) total += StoredBytes(row.extent);
  }
  return total;
}

}  // namespace prism::cow
