// How chunks get to disk and leave it: the checkpoint's and the recovery's half of the table.
#include <spdlog/spdlog.h>

#include "cow/chunk_table.h"
#include "fs/base/check.h"

namespace prism::cow {

Status ChunkTable::Load() {
  Status status;
  Status scanned = kv_.Scan(Table::kChunk, [&](std::string_view key, std::string_view value) {
    ChunkId id = IdFromKey(key);
    Result<ChunkRow> row = ChunkRow::Decode(value);
    if (row) status = segments_.MarkUsed(row->extent);
    if (!row || !status) {
      spdlog::error("chunk {}: its row is damaged", id);
      status = Fail(Err::kCorrupt);
      return false;
    }
    ++count_;
    unique_bytes_ += row->raw_bytes;
    if (row->references == 0) unreferenced_.insert(id);
    return true;
  });
  PRISM_TRY(scanned);
  return status;
}

Status ChunkTable::ReplayRecord(std::string_view payload) {
  ByteReader reader(payload);
  ChunkId id = reader.Get<ChunkId>();
  Result<ChunkRow> row = ChunkRow::DecodeFrom(reader);
  if (!row) return Fail(Err::kCorrupt);
  PRISM_TRY(segments_.MarkUsed(row->extent));
  if (const std::string_view carried = reader.GetBytes(reader.remaining()); !carried.empty()) {
    if (carried.size() != row->extent.length_bytes) return Fail(Err::kCorrupt);
    PRISM_TRY(segments_.WriteAgain(row->extent, carried));
  }
  std::lock_guard lock(mutex_);
  Register(id, *row);
  next_id_ = std::max<uint64_t>(next_id_, id + 1);
  return {};
}

void ChunkTable::Freeze() {
  std::lock_guard lock(mutex_);
  PRISM_CHECK(frozen_.rows.empty() && frozen_delta_.empty());
  std::swap(frozen_, fresh_);
  std::swap(frozen_delta_, delta_);
  for (ChunkId id : unreferenced_) frozen_delta_.try_emplace(id, 0);
  for (const auto& [id, row] : frozen_.rows) frozen_delta_.try_emplace(id, 0);
  UpdatePending();
}

// frozen_ and frozen_delta_ change in Freeze and Durable alone, which this thread calls, so they
// are read here without the lock.
Status ChunkTable::Write(KvBatch& batch) {
  for (const auto& [id, delta] : frozen_delta_) PRISM_TRY(WriteOne(id, delta, batch));
  return {};
}

Status ChunkTable::WriteOne(ChunkId id, int64_t delta, KvBatch& batch) {
  auto fresh = frozen_.rows.find(id);
  bool is_new = fresh != frozen_.rows.end();
  bool waited;
  {
    std::lock_guard lock(mutex_);
    waited = unreferenced_.contains(id);
  }
  if (!is_new && delta == 0 && !waited) return {};
  PRISM_ASSIGN(ChunkRow row, is_new ? Result<ChunkRow>(fresh->second) : RowOnDisk(id));
  row.references += delta;
  PRISM_CHECK(row.references >= 0);
  std::string key = IdKey(id);
  if (row.references == 0) {
    std::lock_guard lock(mutex_);
    // Whoever has found it since the cut holds a pin or has added a reference; from here on nobody
    // can find it, because it is dying.
    if (!pins_.contains(id) && !delta_.contains(id)) {
      dying_.insert(id);
      dying_rows_.push_back(row);
      unreferenced_.erase(id);
      if (is_new) return {};  // never written
      batch.Delete(Table::kChunk, key);
      batch.Delete(Table::kFingerprint, KeyOf(row.hash));
      return {};
    }
    unreferenced_.insert(id);
  } else if (waited) {
    std::lock_guard lock(mutex_);
    unreferenced_.erase(id);
  }
  std::string value;
  row.EncodeTo(value);
  batch.Put(Table::kChunk, key, value);
  if (is_new) batch.Put(Table::kFingerprint, KeyOf(row.hash), key);
  return {};
}

void ChunkTable::Durable() {
  std::vector<Extent> freed;
  {
    std::lock_guard lock(mutex_);
    frozen_ = {};
    frozen_delta_.clear();
    count_ -= dying_.size();
    for (const ChunkRow& row : dying_rows_) unique_bytes_ -= row.raw_bytes;
    if (!dying_.empty()) ++removals_;
    dying_.clear();
    for (const ChunkRow& row : dying_rows_) freed.push_back(row.extent);
    dying_rows_.clear();
  }
  segments_.Free(std::move(freed));
}

}  // namespace prism::cow
