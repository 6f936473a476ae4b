// The medium of chunks: segment files with a bitmap of units, beside RocksDB.
//
// Bulk bytes go around the LSM: a 64 KiB chunk costs some 12 us of CPU here and 280 us through
// Debian's RocksDB (docs/DESIGN.md). Space is allocated in units of kUnitBytes, mostly in sequence;
// a freed run is given back to the file system and can be used again, and a segment without a used
// unit is removed. Which units are used is not stored: it is the union of the chunk rows, read once
// at start.
#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "cow/file.h"
#include "cow/page_window.h"

namespace prism::cow {

struct Extent {          // of a segment
  uint32_t segment = 0;  // file number, from 1
  uint32_t unit = 0;
  uint32_t length_bytes = 0;
};

// What an extent takes of the medium, which is given out in units of 1 KiB.
inline uint8_t StoredKib(const Extent& extent) {
  return static_cast<uint8_t>((extent.length_bytes + 1023) / 1024);
}
inline uint64_t StoredBytes(const Extent& extent) { return uint64_t{StoredKib(extent)} * 1024; }

// A part of what is at an extent: out.size() bytes from `offset` on.
struct SegmentRead {
  Extent extent;
  uint32_t offset = 0;
  std::span<std::byte> out;
};

// THREADS: all methods from any thread.
class SegmentStore {
 public:
  static constexpr uint32_t kUnitBytes = 1024;
  static constexpr uint32_t kSegmentBytes = 64u << 20;

  // read_only: nothing is written, and no file is changed, whatever is called.
  explicit SegmentStore(std::string directory, bool read_only = false);

  // At start: marks what a chunk row says is in use. kCorrupt: outside a segment, or used twice.
  Status MarkUsed(const Extent& extent);

  // At start, when all that is in use is marked: removes the files of segments without any.
  void RemoveUnused();

  // Allocates and writes, side by side where there is room; on disk after the next Sync if `soon`,
  // else after the next SyncAll. kNoSpace: the file system is full (what FreeBytes() keeps back is
  // for the journal and the checkpoint).
  Result<std::vector<Extent>> Write(std::span<const std::string_view> contents, bool soon);
  // At start: what a crash may have taken away. On disk after the next SyncAll.
  Status WriteAgain(const Extent& extent, std::string_view bytes);
  // Neighbours are read together. Sorts `reads`.
  Status Read(std::span<SegmentRead> reads);
  // The space can be used again at once: call only when no durable state refers to it.
  // Whole blocks among it go back to the file system.
  void Free(std::vector<Extent> extents);
  Status Sync();  // kIo for ever after one has failed: what it should have written may be lost
  Status SyncAll();
  bool NeedsSync() const;  // Sync has something to do

  uint64_t used_bytes() const { return used_units_.load() * kUnitBytes; }
  // Of the file system, less what is kept back.
  uint64_t FreeBytes();

 private:
  static constexpr uint32_t kUnits = kSegmentBytes / kUnitBytes;
  static constexpr size_t kOpenFilesMax = 256;
  static constexpr uint64_t kPageWindowBytes = uint64_t{256} << 20;

  struct Segment {
    std::vector<uint64_t> bitmap = std::vector<uint64_t>(kUnits / 64);
    uint32_t used = 0;
  };
  struct OpenFile {
    std::shared_ptr<File> file;
    std::list<uint32_t>::iterator position;
  };

  static uint32_t UnitsOf(uint32_t length_bytes) {
    return (length_bytes + kUnitBytes - 1) / kUnitBytes;
  }
  static bool IsUsed(const Segment& segment, uint32_t unit) {
    return (segment.bitmap[unit / 64] >> (unit % 64) & 1) != 0;
  }
  void FreeRun(uint32_t number, uint32_t first, uint32_t end);
  void Punch(uint32_t number, uint32_t first, uint32_t end);
  void RemoveSegment(uint32_t number);
  Extent Allocate(uint32_t length_bytes);
  bool AllocateFrom(Segment& segment, uint32_t from, uint32_t units, uint32_t& found);
  bool UseEmptiest();
  void UseNew();
  Result<std::shared_ptr<File>> FileOf(uint32_t segment);
  Status SyncFiles(const std::set<uint32_t>& segments, bool directory);
  Status WriteExtents(std::span<const std::string_view> contents, std::span<const Extent> extents);
  Status ReadRun(std::span<const SegmentRead> run);
  std::string PathOf(uint32_t segment) const;

  const std::string directory_;
  const bool read_only_;
  mutable std::mutex mutex_;  // guards all below but the atomics
  std::map<uint32_t, Segment> segments_;
  uint32_t active_ = 0;        // the segment being filled, 0: none
  uint32_t cursor_ = 0;        // its next unit to try
  uint32_t last_segment_ = 0;  // highest number ever used in this run
  std::set<uint32_t> unsynced_;
  std::set<uint32_t> unsynced_later_;  // of them, SyncAll takes care
  bool directory_unsynced_ = false;
  std::unordered_map<uint32_t, OpenFile> open_;
  std::list<uint32_t> open_order_;  // least recently used first
  std::mutex sync_mutex_;           // one Sync at a time: a second must wait for the first's files
  bool sync_failed_ = false;        // guarded by sync_mutex_
  PageWindow window_{kPageWindowBytes};
  std::atomic<uint64_t> used_units_{0};
  std::atomic<int64_t> free_bytes_{0};  // as last looked up, without what was written since
  std::atomic<int64_t> free_checked_ms_{0};
};

}  // namespace prism::cow
