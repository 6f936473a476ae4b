// The requests that were done on a volume, in a ring of items of its own tree: each is written by
// the transaction that does it, so after a crash both are there or neither, and no format but the
// tree's is needed. A clone inherits them; they do no harm there, for whoever checksums a request
// includes the volume.
//
// An item of type kRequest, 32 bytes: sequence u64 (from 1; slot = sequence modulo kSlots), client
// u64, number u32, checksum u32, inode u64.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cow/volume_map.h"
#include "fs/contract/file_system.h"

namespace prism::fs {

// THREADS: any.
class RequestLog {
 public:
  static constexpr uint64_t kSlots = 1024;

  struct Entry {
    RequestId request;
    InodeId ino = 0;
    uint64_t sequence = 0;  // 0: nothing was noted
    uint64_t tree = 0;      // how often there had been a Reset
  };
  // Adds the item to the transaction; Noted, once that has committed.
  Result<Entry> Note(cow::WriteTransaction& transaction, const RequestId& request, InodeId ino);
  void Noted(const Entry& entry);

  Result<InodeId> Find(cow::VolumeMap& map, const RequestId& request);

  // The volume has another tree, and so perhaps other requests.
  void Reset();

 private:
  struct Hash {
    size_t operator()(const RequestId& id) const {
      return id.client ^ (uint64_t{id.number} << 32 | id.checksum);
    }
  };
  Status Load(const cow::ReadView& view);  // REQUIRES: mutex_
  void Insert(const Entry& entry);         // REQUIRES: mutex_

  std::mutex mutex_;  // a leaf, taken within the volume's lock; guards all that follows
  bool loaded_ = false;
  uint64_t resets_ = 0;
  uint64_t next_ = 1;
  std::vector<Entry> ring_;
  std::unordered_map<RequestId, InodeId, Hash> done_;
};

}  // namespace prism::fs
