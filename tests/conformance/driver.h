// What the conformance suite needs of an implementation. Each driver_*.cc defines MakeDriver() and
// is linked with the suite into an executable of its own.
#pragma once

#include <memory>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"

namespace prism::conformance {

inline constexpr char kVolume[] = "under-test";

// What some way to a file system cannot say, because its protocol has no words for it, or because
// what is in between decides by itself. README.md gives the reason for each driver that lacks one.
enum class Feature {
  kAnyCookie,         // listings go on at cookies from 2^63 on
  kAnyName,           // '/', NUL, "." and ".." where a name is meant; an empty target of a symlink
  kAnyOffset,         // from 2^63 on
  kAnyTime,           // before 1970 and after 2106
  kAnyValue,          // values outside of an enumeration
  kAppend,            // WriteArgs::append
  kAppendAt,          // WriteArgs::append_at
  kBirthTime,         // Attr::btime
  kBoundedIo,         // one Read or Write is one request, and refused over kIoMax
  kChangeNumber,      // Attr::change
  kCreateInOneStep,   // Create with initial state: all or nothing
  kDataOfAnyType,     // Read, Write, Seek, Fallocate of devices, FIFOs, sockets and symlinks
  kDataWithoutOpen,   // data belongs to its owner whatever its mode
  kEvents,            // SetListener
  kGuardedSetattr,    // SetAttr::if_ctime
  kHost,              // Driver::host: clones, snapshots and the like
  kHoldsUnseen,       // a client holds orphans that it has never looked up
  kInodeByNumber,     // an inode number that was never heard of
  kKillPrivileges,    // set-id bits stay unless SetAttr::kill_privileges
  kLocks,             // Lock, TestLock, CancelLock, DropLocks
  kLongTargets,       // symlink targets of kSymlinkMax bytes
  kManyGroups,        // callers in more than 16 groups
  kOrphans,           // unlinked files live on
  kQuota,             // Host::SetQuota
  kRangeOps,          // Fallocate, Seek, CopyRange
  kRenameFlags,       // kRenameNoReplace, kRenameExchange
  kSymlinkMode,       // Setattr of it
  kUncached,          // every Read and Getattr is asked of the volume
  kUncheckedCallers,  // Caller::check_permission false for others than root
  kUncheckedErrors,   // Exclusivity::kUnchecked that meets what is not a regular file
  kVerifier,          // Exclusivity::kVerified
  kXattrs,            // extended attributes and ACLs
};

class Driver {
 public:
  virtual ~Driver() = default;
  // In process, everything.
  virtual bool Can(Feature) const { return true; }
  // The store, which has an empty volume kVolume. REQUIRES: Can(kHost).
  virtual fs::Host& host() = 0;
  // A further client of a volume, speaking through the implementation under test. All clients are
  // gone before the driver goes.
  virtual std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) = 0;
};

std::unique_ptr<Driver> MakeDriver();

}  // namespace prism::conformance
