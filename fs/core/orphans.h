// Inodes without links: who holds them, and freeing those that nobody does.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>

#include "cow/volume_map.h"
#include "fs/core/clients.h"
#include "fs/core/file_data.h"
#include "fs/core/holds.h"

namespace prism::fs {

// THREADS: any.
class Orphans {
 public:
  Orphans(cow::VolumeMap& map, FileData& data, Holds& holds)
      : map_(map), data_(data), holds_(holds) {}

  // kInvalid: it does not hold it. Frees a small inode at once when it was the last holder.
  Status Release(ClientId client, InodeId ino);
  void Detach(ClientId client);

  // At most `steps` transactions. True: more to do.
  Result<bool> Reap(size_t steps);

 private:
  Status FindLeftovers();
  Result<bool> FreeStep(InodeId ino);

  cow::VolumeMap& map_;
  FileData& data_;
  Holds& holds_;
  std::mutex reap_mutex_;  // one reaper at a time
  bool searched_ = false;  // of reap_mutex_
  std::mutex mutex_;       // a leaf; of what follows
  std::deque<InodeId> unheld_;
};

}  // namespace prism::fs
