// Which chunks have been read a short time ago without being kept.
//
// Uncompressed chunks are in the kernel's page cache once they have been read. So the first read
// takes just what it needs of one, and only a chunk that is read again is worth a place in ours.
// Of bounded size: a chunk takes the place of another. THREADS: any.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "fs/base/types.h"

namespace prism::cow {

class RecentChunks {
 public:
  // Whether it is known already; it is from now on.
  bool Note(ChunkId id) {
    return slots_[id % kSlots].exchange(id, std::memory_order_relaxed) == id;
  }

 private:
  static constexpr size_t kSlots = 16384;  // for 1 GiB of whole blocks that were written together
  std::array<std::atomic<ChunkId>, kSlots> slots_{};
};

}  // namespace prism::cow
