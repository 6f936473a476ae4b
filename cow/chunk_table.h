// Chunks: content stored once, found by its hash, counted by its references.
//
// A small chunk's record carries its bytes, if that saves whoever waits for it the sync of a
// segment; the segment is then synced before the next checkpoint's rows refer to it.
//
// A new chunk's record enters the journal before the dedup index can show the chunk to anybody, so
// no record that refers to it can come before it. References change in memory as deltas, which
// cancel each other, and are added to the rows at the checkpoint; only there a chunk is found to
// have none, is taken out of the index, and its space is free when that checkpoint is durable.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "cow/chunk_cache.h"
#include "cow/chunk_row.h"
#include "cow/journal.h"
#include "cow/kv.h"
#include "cow/place_cache.h"
#include "cow/segment_store.h"
#include "cow/tree.h"
#include "cow/volume_map.h"
#include "fs/base/fair_shared_mutex.h"

namespace prism::cow {

struct ChunkTableOptions {
  Codec codec = Codec::kLz4;
  uint64_t cache_bytes = uint64_t{512} << 20;
};

// LOCKS: the engine's gate (shared, taken by Put itself), then mutex_, then the journal's.
class ChunkTable : public ChunkStore, public ChunkReferences, public ChunkPin::Owner {
 public:
  ChunkTable(Kv& kv, SegmentStore& segments, Journal& journal, FairSharedMutex& gate,
             const ChunkTableOptions& options)
      : kv_(kv),
        segments_(segments),
        journal_(journal),
        gate_(gate),
        options_(options),
        cache_(options.cache_bytes) {}

  // ChunkStore. REQUIRES: the caller does not hold the gate.
  Result<std::vector<ChunkPin>> PutAll(Contents contents) override;
  Status ReadAll(std::span<const ChunkRead> reads) override;
  uint64_t FreeBytes() override { return segments_.FreeBytes(); }

  // ChunkReferences. REQUIRES: the gate is held.
  void AddReference(ChunkId id, int64_t delta) override;
  void Unpin(ChunkId id) override;

  // At start: reads all rows, then what the journal says was stored since.
  Status Load();
  Status ReplayRecord(std::string_view payload);

  // The checkpoint. Freeze: gate held exclusively. Only the checkpoint's thread calls Write,
  // Durable.
  void Freeze();
  Status Write(KvBatch& batch);
  void Durable();
  // Changed or new chunks since the last Freeze.
  size_t pending() const { return pending_.load(std::memory_order_relaxed); }

  // Bytes on the medium of the chunks to which all references are among `references`.
  // REQUIRES: no checkpoint runs meanwhile.
  Result<uint64_t> ExclusiveBytes(const std::unordered_map<ChunkId, int64_t>& references);

  uint64_t count() const { return count_; }
  uint64_t unique_bytes() const { return unique_bytes_; }
  uint64_t next_id() const { return next_id_; }
  void RestoreNextId(uint64_t next_id) { next_id_ = next_id; }

 private:
  using HashKey = std::string;  // the first 16 bytes of a hash
  using Deltas = std::unordered_map<ChunkId, int64_t>;
  struct Generation {  // what has been created between two Freezes
    std::unordered_map<ChunkId, ChunkRow> rows;
    std::unordered_map<HashKey, ChunkId> by_hash;
  };

  static HashKey KeyOf(const ContentHash& hash);
  // No owner: there is no such chunk.
  Result<ChunkPin> FindAndPin(const ContentHash& hash);
  ChunkId FindInMemory(const ContentHash& hash, const ChunkRow*& row) const;
  ChunkPin PinLocked(ChunkId id, const ChunkRow& row);
  bool MayCarry(size_t stored_bytes) const;
  struct NewChunk;
  Status Store(std::vector<NewChunk>& chunks);
  ChunkPin Publish(const NewChunk& chunk);
  Result<ChunkRow> RowOf(ChunkId id);
  Result<ChunkRow> RowOnDisk(ChunkId id);
  // chunk_table_read.cc
  struct Fetch;
  Result<ChunkPlace> PlaceOf(ChunkId id);
  Status LoadPlaces(ChunkId first);
  Status FetchAll(std::vector<Fetch>& fetches);
  Status Finish(const Fetch& fetch);
  void Register(ChunkId id, const ChunkRow& row);
  Status WriteOne(ChunkId id, int64_t delta, KvBatch& batch);
  void UpdatePending();

  Kv& kv_;
  SegmentStore& segments_;
  Journal& journal_;
  FairSharedMutex& gate_;
  const ChunkTableOptions options_;
  ChunkCache cache_;
  PlaceCache places_;

  mutable std::mutex mutex_;  // guards all below but the atomics
  Generation fresh_;
  Generation frozen_;
  Deltas delta_;
  Deltas frozen_delta_;
  std::unordered_map<ChunkId, uint32_t> pins_;
  std::unordered_set<ChunkId> unreferenced_;  // rows with 0 references that could not go yet
  std::unordered_set<ChunkId> dying_;         // being removed by the checkpoint that runs
  std::vector<ChunkRow> dying_rows_;
  uint64_t removals_ = 0;  // checkpoints that removed something: invalidates what was read before

  std::atomic<uint64_t> next_id_{1};
  std::atomic<uint64_t> count_{0};
  std::atomic<uint64_t> unique_bytes_{0};
  std::atomic<size_t> pending_{0};
};

}  // namespace prism::cow
