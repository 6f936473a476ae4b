// One volume as a file system: what all clients attached to it share.
//
// Above it, one VolumeFs (fs/core/volume_fs.h) per attached client; below it, the volume's map and
// the store's chunks (cow/volume_map.h). It keeps file data that is not yet in the store, the times
// of reading that are not yet in the map, and who holds which unlinked inode.
//
// LOCK ORDER: barriers of data, one file's flush lock, its data lock, the volume's view or
// transaction, then leaf mutexes of tables. No lock of this layer is held across WaitDurable.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "cow/volume_map.h"
#include "fs/base/error.h"
#include "fs/contract/file_system.h"
#include "fs/core/clients.h"
#include "fs/core/dirty_budget.h"
#include "fs/core/flusher.h"
#include "fs/core/lock_memory.h"

namespace prism::fs {

struct CoreOptions {
  VolumeId volume = 0;                        // for logs
  std::chrono::milliseconds dirty_age{1000};  // data older than this goes with FlushAged
  // Unlinked files of an earlier run are kept until then, for clients that resume.
  std::chrono::steady_clock::time_point leftovers_from{};
  Flusher* flusher = nullptr;         // saves full blocks early; outlives the core
  LockMemory* lock_memory = nullptr;  // outlives the core
};

struct AttachOptions {
  // False: this client holds no unlinked inode, they are kStale to it at once (NFS).
  bool holds_orphans = true;
};

class VolumeCore;

// While one lives, no change of file data is accepted on its volume (they wait), and none is dirty
// or half done. Metadata operations go on. Several may exist at once.
class DataGate {
 public:
  DataGate() = default;
  DataGate(DataGate&& other) noexcept = default;
  DataGate& operator=(DataGate&& other) noexcept {
    std::swap(core_, other.core_);
    return *this;
  }
  ~DataGate();

 private:
  friend class VolumeCore;
  explicit DataGate(std::shared_ptr<VolumeCore> core) : core_(std::move(core)) {}
  std::shared_ptr<VolumeCore> core_;
};

// Writes the root directory (mode 0755, owned by root) into a volume that has none. A volume that
// has one is left as it is.
Status FormatVolume(cow::VolumeMap& map);

// THREADS: every method from any thread.
class VolumeCore : public std::enable_shared_from_this<VolumeCore> {
 public:
  // The volume has been formatted. `store` and `budget` outlive the core and what Attach returned.
  static std::shared_ptr<VolumeCore> Open(std::shared_ptr<cow::VolumeMap> map,
                                          cow::ChunkStore& store, DirtyBudget& budget,
                                          const CoreOptions& options);
  ~VolumeCore();  // dirty data is dropped: Flush first
  VolumeCore(const VolumeCore&) = delete;
  VolumeCore& operator=(const VolumeCore&) = delete;

  // A FileSystem for one client. It keeps the core alive; destroying it releases its holds.
  std::shared_ptr<FileSystem> Attach(const AttachOptions& options = {});
  // See Host::Resume.
  Result<std::shared_ptr<FileSystem>> Resume();
  uint32_t attached() const;

  // All data and attributes that wait in memory go into transactions. Returns after their Commit:
  // not durable. An error leaves what could not be written waiting; the rest is still tried.
  // On a destroyed volume, everything waiting is dropped and this succeeds.
  Status Flush();

  // For the background thread: the same for what has waited longer than CoreOptions::dirty_age.
  Status FlushAged(std::chrono::steady_clock::time_point now);

  // Asks the clients to write what they hold, as they do for Event::kBarrier.
  BarrierResult FlushClients(std::chrono::milliseconds timeout);

  // Stops writes of data, waits for those under way, and flushes: everything acknowledged before is
  // in the map while the gate lives. Take the cut of a clone under it.
  Result<DataGate> LockData();

  // The map has been given another tree, under a DataGate: forgets what was known of the old one,
  // and tells all clients to.
  Status TreeReplaced();

  // To all clients: that entry, which is none of the volume's own, came or went.
  void TellEntry(InodeId dir, std::string_view name);

  // Frees inodes that nobody holds: at most `steps` transactions of about a thousand items each.
  // One of the first calls looks for what an earlier run or the volume's ancestor left. True: more
  // to do. A read-only volume has nothing to free. `all`: does not wait for
  // CoreOptions::leftovers_from.
  Result<bool> ReapOrphans(size_t steps = 8, bool all = false);
  // See Host::KeepOrphans.
  void KeepOrphans();
  // LockMemory::GiveUp has been called.
  void EndLockGrace();

  // Of this volume's data alone; not 0 while anything of a file waits.
  uint64_t dirty_bytes() const;

  struct Impl;  // fs/core/core_impl.h: for this folder only
  Impl& impl() { return *impl_; }

 private:
  friend class DataGate;
  explicit VolumeCore(std::unique_ptr<Impl> impl);
  void UnlockData();

  std::unique_ptr<Impl> impl_;
};

}  // namespace prism::fs
