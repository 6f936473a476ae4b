// What a client has written and the server has not yet called stable: to be written again should
// the server lose it. RFC 1813 has the same duty for clients of UNSTABLE writes (section 3.3.7).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <span>
#include <string>

#include "fs/contract/file_system.h"

namespace prism::vrpc {

// THREADS: any.
class UnsyncedWrites {
 public:
  // A write that the server has acknowledged as unstable; keeps a copy.
  void Add(InodeId ino, uint64_t offset, std::span<const std::byte> data);

  // Taken before a call that makes things stable: what was added before it is then gone by Forget.
  uint64_t Mark() const;
  // Of one inode, or 0 for all.
  void Forget(InodeId ino, uint64_t mark);
  // The file has been cut to this size, so nothing beyond may come back.
  void Cut(InodeId ino, uint64_t size);

  bool Has(InodeId ino) const;
  size_t bytes() const;

  // Writes all of it again, in order. Files that are gone are passed over; what cannot be written
  // makes TakeFailure true for its file. kDisconnected: it has to be done once more.
  Status Replay(fs::FileSystem& file_system);
  // Whether writes of this inode could not be replayed; once. For 0, of any; once, and whoever
  // asks for an inode is told all the same.
  bool TakeFailure(InodeId ino);

 private:
  struct Write {
    uint64_t number = 0;
    InodeId ino = 0;
    uint64_t offset = 0;
    std::string data;
  };

  mutable std::mutex mutex_;
  std::deque<Write> writes_;
  std::set<InodeId> failed_;
  bool any_failed_ = false;
  uint64_t next_ = 1;
  size_t bytes_ = 0;
};

}  // namespace prism::vrpc
