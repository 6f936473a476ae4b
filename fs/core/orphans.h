// Inodes without links: who holds them, and freeing those that nobody does.
#pragma once

#include <atomic>
#include <chrono>
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
  using Clock = std::chrono::steady_clock;

  // Until `leftovers_from`, what an earlier run left is kept for those who may come back for it.
  Orphans(cow::VolumeMap& map, FileData& data, Holds& holds, Clock::time_point leftovers_from)
      : map_(map), data_(data), holds_(holds), leftovers_from_(leftovers_from) {}

  // This client held inodes when an earlier run ended; which, only it knows: it now holds all that
  // were left. Nothing, once they are being freed.
  Status Claim(ClientId client);

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

  // At most `steps` transactions. True: more to do. `all`: leftovers too, whatever the time.
  Result<bool> Reap(size_t steps, bool all = false);
  // From now on clients stay holders when they leave, and nothing is freed: the server stops, and
  // they will come back.
  void Keep() { keeps_.store(true, std::memory_order_relaxed); }

 private:
  Status ScanLeftovers(FunctionRef<void(InodeId)> visitor);
  Status FindLeftovers();
  void FreeSoon(InodeId ino);
  Result<bool> FreeStep(InodeId ino);

  cow::VolumeMap& map_;
  FileData& data_;
  Holds& holds_;
  const Clock::time_point leftovers_from_;
  std::atomic<bool> keeps_{false};
  std::mutex reap_mutex_;  // one reaper at a time
  bool searched_ = false;  // of reap_mutex_
  std::mutex mutex_;       // a leaf; of what follows
  std::deque<InodeId> unheld_;
};

}  // namespace prism::fs
