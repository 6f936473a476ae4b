// Inodes without links: who holds them, and freeing those that nobody does.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "cow/volume_map.h"
#include "fs/core/clients.h"
#include "fs/core/file_data.h"

namespace prism::fs {

// THREADS: any.
class Orphans {
 public:
  Orphans(cow::VolumeMap& map, FileData& data) : map_(map), data_(data) {}

  // Before the commit that takes the last link: everybody in `holders` holds the inode from now on.
  void Hold(InodeId ino, std::vector<ClientId> holders);
  // That commit failed.
  void Unhold(InodeId ino);
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
  std::mutex reap_mutex_;  // one reaper at a time
  bool searched_ = false;  // of reap_mutex_
  std::mutex mutex_;       // a leaf; of what follows
  std::unordered_map<InodeId, std::vector<ClientId>> holders_;
  std::deque<InodeId> unheld_;
};

}  // namespace prism::fs
