// The operations that libfuse calls, by group: each Install fills in its members of the table.
// Internal to fs/mount.
//
// Every handler runs on a Worker's thread, answers its request exactly once before it returns (but
// for fsyncs and waiting locks), and leaves permission to the kernel (default_permissions), so
// Caller::check_permission is off. opendir answers ENOSYS, open too where locks are not shared, and
// what is in no group is answered ENOSYS by libfuse; the kernel remembers that, so that they cost
// no round trip (README.md, "Absent").
#pragma once

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>

#include <atomic>
#include <functional>

#include "fs/contract/file_system.h"
#include "fs/mount/helper_pool.h"
#include "fs/mount/invalidator.h"
#include "fs/mount/listing_advice.h"
#include "fs/mount/lookup_table.h"
#include "fs/mount/own_changes.h"

namespace prism::mount {

class LockKeeper;

// What handlers work with: the userdata of the session. All outlives the session's threads.
struct MountContext {
  fs::FileSystem& fs;
  LookupTable& lookups;
  Invalidator& invalidator;
  HelperPool& helpers;
  LockKeeper& locks;
  // The server keeps the locks; otherwise the kernel, for this mount alone.
  bool share_locks = true;
  OwnChanges& own_changes;
  std::atomic<uint64_t> failed_writebacks{0};  // of pages, whose writers have been told nothing
  ListingAdvice listings;
  // How long the kernel may believe what it was told, in seconds. Long, because the server tells
  // about foreign changes.
  double attr_timeout_s = 0;
  double entry_timeout_s = 0;
  bool is_root = false;  // see EntryTimeout
  // INIT: agrees with the kernel on features.
  std::function<void(fuse_conn_info&)> on_init;
};

void InstallMetaOps(fuse_lowlevel_ops& ops);  // attributes, symlink targets, statfs, forget
void InstallDirOps(fuse_lowlevel_ops& ops);   // names: lookup, create, link, unlink, rename
void InstallListOps(fuse_lowlevel_ops& ops);  // readdir, readdirplus
void InstallFileOps(fuse_lowlevel_ops& ops);  // data
void InstallXattrOps(fuse_lowlevel_ops& ops);
void InstallLockOps(fuse_lowlevel_ops& ops);  // open and close, which matter to locks only

}  // namespace prism::mount
