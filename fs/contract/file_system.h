// The contract: the operations of a file system on one volume.
//
// Implemented by the engine (fs/core), by the client end of a VRPC channel (vrpc/client) and by the
// reference model (tests/model); spoken by every front end and every test. All implementations give
// the same results and the same errors; the conformance suite in tests/conformance says which.
//
// THREADS: every method may be called from any thread at any time.
// NAMES: an entry's name is 1..kNameMax bytes without '/' and NUL, and not "." or ".."
//   (kInvalid; longer: kNameTooLong; empty: kNoEntry on lookup, kInvalid on create); only Lookup
//   takes "." and "..".
// INODES: an inode that no longer exists, or never did, is kStale. A directory operation on
//   something else is kNotDirectory.
// PERMISSION: when caller.check_permission is set, mode bits, POSIX ACLs, ownership and the sticky
//   bit are enforced here (NFS, in-process callers); otherwise the caller's kernel has done so (a
//   FUSE mount with default_permissions, an import by root).
// TIMES: atime follows relatime; mtime and ctime POSIX. The clock is the server's.
// STABILITY: an operation that has returned is seen by every later operation, and by every clone
//   whose call begins later. It survives a crash after the next Fsync or Sync that succeeds, and
//   by itself within seconds; operations survive in their order.
// A read-only volume answers kReadOnly to everything that would change it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/function_ref.h"
#include "fs/base/kept_bytes.h"
#include "fs/contract/attr.h"
#include "fs/contract/limits.h"
#include "fs/contract/lock.h"

namespace prism::fs {

// What makes the repetition of a request recognizable, after a restart of the server too: the
// client, its number for the request, and a checksum of all that was asked.
struct RequestId {
  uint64_t client = 0;
  uint32_t number = 0;
  uint32_t checksum = 0;
  bool operator==(const RequestId&) const = default;
};

// Who asks. Comes with every request.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::span<const uint32_t> groups = {};  // supplementary, at most kGroupsMax
  bool check_permission = false;
  // Create, Link, Unlink, Rmdir, Rename, Setxattr and Removexattr that change something note it in
  // the same atomic step as done: see FileSystem::FindDone.
  const RequestId* request = nullptr;
};

enum class Exclusivity : uint8_t {
  kGuarded = 0,    // an existing name is kExists (mkdir, mknod, symlink, O_EXCL)
  kUnchecked = 1,  // an existing regular file is returned as it is (plain O_CREAT); `initial`
                   // then applies only its size, as O_TRUNC does
  kVerified = 2,   // RFC 1813 EXCLUSIVE: kExists unless it was created with the same verifier
};

struct Xattr {
  std::string name;   // with its namespace: "user.x", "security.capability"
  std::string value;  // at most kXattrValueMax bytes
};

// One operation makes any kind of file, with everything it begins with: what mkdir, mknod, symlink
// and open(O_CREAT) need, and what an import needs to make a whole small file in one call.
struct CreateArgs {
  InodeId parent = 0;
  std::string_view name;
  FileType type = FileType::kRegular;
  uint32_t mode = 0;        // 07777, before umask
  uint32_t umask = 0;       // ignored where the parent has a default ACL (POSIX 1003.1e)
  uint32_t rdev_major = 0;  // devices only
  uint32_t rdev_minor = 0;
  std::string_view symlink_target;  // symlinks only: 1..kSymlinkMax bytes, no NUL
  Exclusivity exclusivity = Exclusivity::kGuarded;
  uint64_t verifier = 0;  // kVerified only
  // Applied last, in the same atomic step, without permission checks on what was just made: owner,
  // times, and a mode that then is exact (no umask, no set-gid inheritance).
  SetAttr initial;
  std::span<const std::byte> data = {};  // regular files only: at most kInitialDataMax bytes
  std::span<const Xattr> xattrs = {};
};

struct EntryResult {
  Attr attr;      // of the file that was found or made
  Change parent;  // of the directory; before == after where nothing changed
  bool created = false;
};

struct RemoveResult {
  Attr removed;  // after the removal; nlink 0 means the inode lives on only for those who hold it
  Change parent;
};

struct RenameResult {
  Change from_parent;
  Change to_parent;              // equal to from_parent when it is the same directory
  Attr moved;                    // the renamed file
  std::optional<Attr> replaced;  // what the target name referred to before, after its unlinking
};

enum RenameFlags : uint32_t {
  kRenameNone = 0,
  kRenameNoReplace = 1,  // an existing target is kExists
  kRenameExchange = 2,   // both must exist; both change places
};

struct ReadResult {
  uint32_t length = 0;  // bytes placed in the buffer
  bool eof = false;  // the last byte of the file is among them, or offset is at or beyond the end
  Attr attr;
};
struct KeptRead {
  ReadResult result;
  std::vector<KeptBytes> parts;
};

enum class Stability : uint8_t { kUnstable = 0, kDataSync = 1, kFileSync = 2 };  // RFC 1813

struct WriteArgs {
  InodeId ino = 0;
  uint64_t offset = 0;  // ignored with append, unless append_at
  // At most kIoMax bytes. May be memory that a hostile peer changes meanwhile: it is copied exactly
  // once before anything looks at it.
  std::span<const std::byte> data;
  bool append = false;
  // With append: kAgain, and nothing is written, unless the file ends at `offset`. So that whoever
  // does not know whether an append was done can ask for it again.
  bool append_at = false;
  Stability stability = Stability::kUnstable;
  bool kill_privileges = false;  // as in SetAttr
};

struct WriteResult {
  uint32_t length = 0;
  uint64_t offset = 0;  // where the bytes went
  Stability committed = Stability::kUnstable;
  Change change;
};

struct DirEntry {
  uint64_t cookie = 0;  // where a listing that has seen this entry goes on
  InodeId ino = 0;
  FileType type = FileType::kRegular;
  std::string_view name;       // valid during the visit
  const Attr* attr = nullptr;  // only when attributes were asked for; valid during the visit
};

struct ReaddirResult {
  bool eof = false;
  Attr dir;
};

enum class FallocateMode : uint8_t {
  kAllocate = 0,      // the range reads as before; the file grows if needed
  kAllocateKeep = 1,  // the same without growing
  kPunchHole = 2,     // the range becomes a hole; the size stays
  kZeroRange = 3,     // the range becomes zeros; the file grows if needed
  kZeroRangeKeep = 4,
};

enum class SeekWhence : uint8_t { kData = 0, kHole = 1 };

enum class XattrMode : uint8_t { kSet = 0, kCreate = 1, kReplace = 2 };

struct StatfsResult {
  uint64_t total_bytes = 0;  // what counts against the quota + what it and the store leave
  uint64_t free_bytes = 0;
  uint64_t used_bytes = 0;  // logical bytes of this volume
  uint64_t files = 0;       // inodes in use
  uint64_t free_files = 0;
};

// What another holder of the same volume changed, so that a client can drop what it has cached
// (never about the receiver's own operations); and that a lock it waits for is there.
struct Event {
  enum class Kind : uint8_t {
    kInode = 0,     // data and attributes of `ino`
    kEntry = 1,     // the entry `name` of directory `ino` (and that directory's attributes)
    kOrphaned = 2,  // `ino` has lost its last link; the receiver holds it too, until it Releases it
    kAll = 3,       // more than could be told: drop everything
    // The receiver's request `cookie` for a lock of `ino` has been granted. May come before the
    // call that asked has returned. After kAll one may have been lost: asking once more without
    // waiting tells.
    kLockGranted = 4,
    // Somebody is about to take a cut of the volume: the receiver writes what it holds and the file
    // system has not seen (pages of shared mappings), and then says AnswerBarrier with `cookie`.
    // Comes to those alone whose listener AnswersBarriers.
    kBarrier = 5,
  };
  Kind kind = Kind::kInode;
  InodeId ino = 0;
  std::string name;
  uint64_t cookie = 0;
};

// Of an event that is about one request of the receiver, or asks it for an answer.
inline bool HasCookie(Event::Kind kind) {
  return kind == Event::Kind::kLockGranted || kind == Event::Kind::kBarrier;
}

class EventListener {
 public:
  virtual ~EventListener() = default;
  // Called from any thread, after the change; must not block and must not call the file system.
  virtual void OnEvent(const Event& event) = 0;
  // Does not change while it listens.
  virtual bool AnswersBarriers() const { return false; }
};

class FileSystem {
 public:
  virtual ~FileSystem() = default;

  // At most one, for as long as this object lives; nullptr removes it (and waits for a running
  // call to return).
  virtual void SetListener(EventListener* listener) = 0;

  virtual Result<StatfsResult> Statfs(const Caller& caller) = 0;

  // Also "." and "..": the parent of the root is the root.
  virtual Result<EntryResult> Lookup(const Caller& caller, InodeId dir, std::string_view name) = 0;
  virtual Result<Attr> Getattr(const Caller& caller, InodeId ino) = 0;
  virtual Result<Change> Setattr(const Caller& caller, InodeId ino, const SetAttr& changes) = 0;
  // mask: R_OK | W_OK | X_OK. Returns the subset that is granted; always evaluates permissions.
  virtual Result<uint32_t> Access(const Caller& caller, InodeId ino, uint32_t mask) = 0;
  virtual Result<std::string> Readlink(const Caller& caller, InodeId ino) = 0;

  // Fills up to buffer.size() (at most kIoMax) bytes from offset. Not regular: kInvalid
  // (directories kIsDirectory).
  virtual Result<ReadResult> Read(const Caller& caller, InodeId ino, uint64_t offset,
                                  std::span<std::byte> buffer) = 0;
  // The same without a buffer: `visitor` is shown up to `length` bytes where they are, once, unless
  // an error is returned. A peer may change them while it looks. It must not call the file system.
  virtual Result<ReadResult> ReadInPlace(
      const Caller& caller, InodeId ino, uint64_t offset, size_t length,
      FunctionRef<void(const ReadResult&, std::span<const std::byte>)> visitor);
  // The same, of bytes that are on their way to somewhere else: many of them lie in a cache, and
  // are not copied. Together result.length bytes, at most `length` (at most kIoMax).
  virtual Result<KeptRead> ReadKept(const Caller& caller, InodeId ino, uint64_t offset,
                                    size_t length);
  virtual Result<WriteResult> Write(const Caller& caller, const WriteArgs& args) = 0;

  virtual Result<EntryResult> Create(const Caller& caller, const CreateArgs& args) = 0;
  virtual Result<EntryResult> Link(const Caller& caller, InodeId ino, InodeId dir,
                                   std::string_view name) = 0;
  // Of anything but a directory (kIsDirectory).
  virtual Result<RemoveResult> Unlink(const Caller& caller, InodeId dir, std::string_view name) = 0;
  virtual Result<RemoveResult> Rmdir(const Caller& caller, InodeId dir, std::string_view name) = 0;
  virtual Result<RenameResult> Rename(const Caller& caller, InodeId from_dir,
                                      std::string_view from_name, InodeId to_dir,
                                      std::string_view to_name, uint32_t flags) = 0;

  // Visits the entries after `cookie` (0: from the start; "." and ".." are not among them) in
  // cookie order until the visitor returns false, at most kReaddirEntriesMax in one call. Cookies
  // are stable while entries come and go: an entry that is there throughout is listed exactly once.
  // Cookies 1 and 2 are never used (front ends number "." and ".." with them), nor any from 2^63 on
  // (directory offsets are signed). The visitor must not
  // call the file system.
  virtual Result<ReaddirResult> Readdir(const Caller& caller, InodeId dir, uint64_t cookie,
                                        bool with_attr,
                                        FunctionRef<bool(const DirEntry&)> visitor) = 0;

  // Everything about this inode that has returned before is on disk when this returns. For a
  // directory: its entries. data_only may leave times behind.
  virtual Status Fsync(const Caller& caller, InodeId ino, bool data_only) = 0;
  // The same for the whole volume.
  virtual Status Sync(const Caller& caller) = 0;

  virtual Result<std::string> Getxattr(const Caller& caller, InodeId ino,
                                       std::string_view name) = 0;
  virtual Status Setxattr(const Caller& caller, InodeId ino, std::string_view name,
                          std::string_view value, XattrMode mode) = 0;
  virtual Result<std::vector<std::string>> Listxattr(const Caller& caller, InodeId ino) = 0;
  virtual Status Removexattr(const Caller& caller, InodeId ino, std::string_view name) = 0;

  virtual Result<Change> Fallocate(const Caller& caller, InodeId ino, FallocateMode mode,
                                   uint64_t offset, uint64_t length) = 0;
  // The first data or hole at or after offset (lseek(2)); kNoSuchExtent at or beyond the end.
  virtual Result<uint64_t> Seek(const Caller& caller, InodeId ino, uint64_t offset,
                                SeekWhence whence) = 0;
  // copy_file_range(2) within the volume: shares content where it can. Ranges of one file must not
  // overlap (kInvalid). Returns the bytes copied, which may be fewer.
  virtual Result<uint64_t> CopyRange(const Caller& caller, InodeId from, uint64_t from_offset,
                                     InodeId to, uint64_t to_offset, uint64_t length) = 0;

  // HOLDS: an inode whose last link goes while somebody may still use it lives on until every
  // holder has released it. Each FileSystem object of a volume (one per attached client) is a
  // holder of every inode orphaned while it lives: the one that unlinked learns it from nlink 0,
  // the others from Event::kOrphaned. A client Releases when its kernel has forgotten the inode;
  // destroying the object releases all. Releasing what is not held is kInvalid.
  // The client's locks of the inode go too.
  virtual Status Release(const Caller& caller, InodeId ino) = 0;

  // Whether the operation with this id was done, by whichever client object and before a crash or
  // restart too (if it survived that), and which inode it was about: the one made, linked, removed,
  // moved, or whose attribute changed. The engine remembers the last thousand of each volume;
  // others may remember nothing. kNoEntry: not known.
  virtual Result<InodeId> FindDone(const RequestId& request) {
    (void)request;
    return Fail(Err::kNoEntry);
  }

  // To Event::kBarrier: all was written, or could not be. kNoEntry: nobody waits for it any more.
  virtual Status AnswerBarrier(const Caller& caller, uint64_t cookie, bool written) {
    (void)caller, (void)cookie, (void)written;
    return Fail(Err::kNotSupported);
  }

  // LOCKS: see fs/contract/lock.h. Of any existing inode, on read-only volumes too. An
  // implementation through which locks cannot be reached answers kNotSupported, as these do.

  // Sets, changes or (kUnlock: of an inode that is gone too) gives up a lock of one range. A
  // conflict is kAgain, and with `wait` the request is queued. Checked callers need to be allowed
  // to read the body for a shared lock, to write it for an exclusive one. kInvalid: a range or
  // owner that cannot be, or a cookie that waits already; kDeadlock; kNoLocks.
  virtual Status Lock(const Caller& caller, const LockArgs& args);
  // A lock that keeps this one from being granted now; none: it would be. (type: not kUnlock.)
  virtual Result<std::optional<LockHolder>> TestLock(const Caller& caller, const LockArgs& args);
  // This client's request no longer waits. kNoEntry: it did not (any more): it was granted, which
  // the event tells or has told, or it was never queued.
  virtual Status CancelLock(const Caller& caller, uint64_t cookie);
  // Gives up what this client has and waits for: of one inode, or 0 for all; of the owners that
  // begin with these bytes, or "" for all.
  virtual Status DropLocks(const Caller& caller, InodeId ino, std::string_view owner_prefix);
};

// The rules for names above: Ok, kInvalid or kNameTooLong.
Status CheckName(std::string_view name);

}  // namespace prism::fs
