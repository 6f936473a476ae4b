// Inodes without links: who holds them, and freeing those that nobody does.
#pragma once

#include <cstddef>
#include <deque>
#include <mutex>
#include <vector>

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
  // An inode has lost its last name. Before the transaction that unlinks it commits, and after it;
  // where nobody is attached who would hold it, it is freed then.
  void BeforeUnlinked(InodeId ino, std::vector<ClientId> holders);
  void AfterUnlinked(InodeId ino);

  // The volume has another tree: what is not without links there is not held any more, and what it
  // has left over is not known yet.
  Status TreeReplaced();

  // At most `steps` transactions. True: more to do.
  Result<bool> Reap(size_t steps);

 private:
  Status FindLeftovers();
  void FreeSoon(InodeId ino);
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
