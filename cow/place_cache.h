// Where stored chunks are, from their rows: those that are numbered together were written together,
// and are mostly read together, so the rows of a group are read in one go.
//
// Of bounded size: a group takes the place of another. Nothing has to be taken out: where a chunk
// is never changes, numbers are never used again, and nobody asks for a chunk that is gone. A chunk
// whose row came after its group was read is not found here.
// THREADS: any.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "cow/chunk_row.h"
#include "fs/base/types.h"

namespace prism::cow {

// What reading a chunk needs of its row.
struct ChunkPlace {
  Extent extent;
  uint32_t raw_bytes = 0;  // 0: unknown
  Codec codec = Codec::kNone;
  UnitChecksums checksums{};

  ChunkPlace() = default;
  explicit ChunkPlace(const ChunkRow& row)
      : extent(row.extent), raw_bytes(row.raw_bytes), codec(row.codec), checksums(row.checksums) {}
};

class PlaceCache {
 public:
  static constexpr uint64_t kGroupChunks = 32;
  using Places = std::array<ChunkPlace, kGroupChunks>;
  static constexpr ChunkId FirstOf(ChunkId id) { return id / kGroupChunks * kGroupChunks; }

  std::optional<ChunkPlace> Find(ChunkId id) const {
    const ChunkId first = FirstOf(id);
    std::lock_guard lock(MutexOf(first));
    const Group& group = groups_[IndexOf(first)];
    if (group.first != first || !group.used) return std::nullopt;
    const ChunkPlace& place = group.places[id - first];
    if (place.raw_bytes == 0) return std::nullopt;
    return place;
  }

  // first: as FirstOf says.
  void Insert(ChunkId first, const Places& places) {
    std::lock_guard lock(MutexOf(first));
    groups_[IndexOf(first)] = Group{first, true, places};
  }

 private:
  static constexpr size_t kGroups = 4096;  // some 12 MiB, for 8 GiB of whole blocks
  static constexpr size_t kMutexes = 16;
  struct Group {
    ChunkId first = 0;
    bool used = false;
    Places places;
  };
  static size_t IndexOf(ChunkId first) { return first / kGroupChunks % kGroups; }
  std::mutex& MutexOf(ChunkId first) const { return mutexes_[IndexOf(first) % kMutexes]; }

  mutable std::array<std::mutex, kMutexes> mutexes_;
  std::vector<Group> groups_{kGroups};
};

}  // namespace prism::cow
