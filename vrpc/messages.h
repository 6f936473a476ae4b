// The requests of every operation, and the replies that are not a result of the contract itself.
// Fields travel in the order of FieldsOf. Large parts travel in the payload slot, as said here.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <tuple>

#include "vrpc/wire.h"

namespace prism::vrpc {

// Numbers are forever: retired ones stay unused.
enum class Op : uint16_t {
  kNull = 0,
  kStatfs = 1,
  kLookup = 2,
  kGetattr = 3,
  kSetattr = 4,
  kAccess = 5,
  kReadlink = 6,
  kRead = 7,
  kWrite = 8,
  kCreate = 9,
  kLink = 10,
  kUnlink = 11,
  kRmdir = 12,
  kRename = 13,
  kReaddir = 14,
  kFsync = 15,
  kSync = 16,
  kGetxattr = 17,
  kSetxattr = 18,
  kListxattr = 19,
  kRemovexattr = 20,
  kFallocate = 21,
  kSeek = 22,
  kCopyRange = 23,
  kRelease = 24,
  kLock = 25,
  kTestLock = 26,
  kCancelLock = 27,
  kDropLocks = 28,
  kFindDone = 29,
  kAnswerBarrier = 30,
};
inline constexpr uint16_t kOpCount = 31;

struct Nothing {};  // Null, Statfs, Sync; and every reply without a result
inline auto FieldsOf(Nothing&) { return std::tuple<>(); }

struct InoRequest {  // Getattr, Readlink, Listxattr, Release
  InodeId ino = 0;
};
inline auto FieldsOf(InoRequest& v) { return std::tie(v.ino); }

struct NameRequest {  // Lookup, Unlink, Rmdir (a directory); Getxattr, Removexattr (any inode)
  InodeId ino = 0;
  std::string_view name;
};
inline auto FieldsOf(NameRequest& v) { return std::tie(v.ino, v.name); }

struct SetattrRequest {
  InodeId ino = 0;
  fs::SetAttr changes;
};
inline auto FieldsOf(SetattrRequest& v) { return std::tie(v.ino, v.changes); }

struct AccessRequest {
  InodeId ino = 0;
  uint32_t mask = 0;
};
inline auto FieldsOf(AccessRequest& v) { return std::tie(v.ino, v.mask); }

struct AccessReply {
  uint32_t granted = 0;
};
inline auto FieldsOf(AccessReply& v) { return std::tie(v.granted); }

struct ReadlinkReply {
  std::string target;
};
inline auto FieldsOf(ReadlinkReply& v) { return std::tie(v.target); }

// Reply: fs::ReadResult; its payload is the data.
struct ReadRequest {
  InodeId ino = 0;
  uint64_t offset = 0;
  uint32_t length = 0;  // at most a payload slot
};
inline auto FieldsOf(ReadRequest& v) { return std::tie(v.ino, v.offset, v.length); }

// The request's payload is the data.
struct WriteRequest {
  InodeId ino = 0;
  uint64_t offset = 0;
  bool append = false;
  bool append_at = false;
  fs::Stability stability = fs::Stability::kUnstable;
  bool kill_privileges = false;
};
inline auto FieldsOf(WriteRequest& v) {
  return std::tie(v.ino, v.offset, v.append, v.append_at, v.stability, v.kill_privileges);
}

// The request's payload: data_bytes of the file's data, then the extended attributes.
struct CreateRequest {
  InodeId parent = 0;
  std::string_view name;
  fs::FileType type = fs::FileType::kRegular;
  uint32_t mode = 0;
  uint32_t umask = 0;
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
  std::string_view symlink_target;
  fs::Exclusivity exclusivity = fs::Exclusivity::kGuarded;
  uint64_t verifier = 0;
  fs::SetAttr initial;
  uint32_t data_bytes = 0;
  uint32_t xattr_count = 0;
};
inline auto FieldsOf(CreateRequest& v) {
  return std::tie(v.parent, v.name, v.type, v.mode, v.umask, v.rdev_major, v.rdev_minor,
                  v.symlink_target, v.exclusivity, v.verifier, v.initial, v.data_bytes,
                  v.xattr_count);
}

struct LinkRequest {
  InodeId ino = 0;
  InodeId dir = 0;
  std::string_view name;
};
inline auto FieldsOf(LinkRequest& v) { return std::tie(v.ino, v.dir, v.name); }

struct RenameRequest {
  InodeId from_dir = 0;
  std::string_view from_name;
  InodeId to_dir = 0;
  std::string_view to_name;
  uint32_t flags = 0;
};
inline auto FieldsOf(RenameRequest& v) {
  return std::tie(v.from_dir, v.from_name, v.to_dir, v.to_name, v.flags);
}

struct ReaddirRequest {
  InodeId dir = 0;
  uint64_t cookie = 0;
  bool with_attr = false;
  uint32_t entries_max = 0;  // at least one entry comes if there is one
  uint32_t bytes_max = 0;    // of the reply's payload; at least kDirEntryBytesMax
};
inline auto FieldsOf(ReaddirRequest& v) {
  return std::tie(v.dir, v.cookie, v.with_attr, v.entries_max, v.bytes_max);
}

// The reply's payload: the entries.
struct ReaddirReply {
  bool eof = false;
  fs::Attr dir;
  uint32_t entries = 0;
};
inline auto FieldsOf(ReaddirReply& v) { return std::tie(v.eof, v.dir, v.entries); }

struct FsyncRequest {
  InodeId ino = 0;
  bool data_only = false;
};
inline auto FieldsOf(FsyncRequest& v) { return std::tie(v.ino, v.data_only); }

// The request's payload is the value. (Getxattr: the reply's payload is the value.)
struct SetxattrRequest {
  InodeId ino = 0;
  std::string_view name;
  fs::XattrMode mode = fs::XattrMode::kSet;
};
inline auto FieldsOf(SetxattrRequest& v) { return std::tie(v.ino, v.name, v.mode); }

// The reply's payload: the names.
struct ListxattrReply {
  uint32_t names = 0;
};
inline auto FieldsOf(ListxattrReply& v) { return std::tie(v.names); }

struct FallocateRequest {
  InodeId ino = 0;
  fs::FallocateMode mode = fs::FallocateMode::kAllocate;
  uint64_t offset = 0;
  uint64_t length = 0;
};
inline auto FieldsOf(FallocateRequest& v) { return std::tie(v.ino, v.mode, v.offset, v.length); }

struct SeekRequest {
  InodeId ino = 0;
  uint64_t offset = 0;
  fs::SeekWhence whence = fs::SeekWhence::kData;
};
inline auto FieldsOf(SeekRequest& v) { return std::tie(v.ino, v.offset, v.whence); }

struct OffsetReply {  // Seek, CopyRange
  uint64_t value = 0;
};
inline auto FieldsOf(OffsetReply& v) { return std::tie(v.value); }

struct CopyRangeRequest {
  InodeId from = 0;
  uint64_t from_offset = 0;
  InodeId to = 0;
  uint64_t to_offset = 0;
  uint64_t length = 0;
};
inline auto FieldsOf(CopyRangeRequest& v) {
  return std::tie(v.from, v.from_offset, v.to, v.to_offset, v.length);
}

struct LockRequest {  // Lock, TestLock
  fs::LockArgs args;
};
inline auto FieldsOf(LockRequest& v) {
  fs::LockArgs& a = v.args;
  return std::tie(a.ino, a.kind, a.type, a.start, a.length, a.owner, a.pid, a.wait, a.cookie,
                  a.reclaim);
}

struct TestLockReply {
  std::optional<fs::LockHolder> holder;
};
inline auto FieldsOf(TestLockReply& v) { return std::tie(v.holder); }

struct CancelLockRequest {
  uint64_t cookie = 0;
};
inline auto FieldsOf(CancelLockRequest& v) { return std::tie(v.cookie); }

struct DropLocksRequest {
  InodeId ino = 0;
  std::string_view owner_prefix;
};
inline auto FieldsOf(DropLocksRequest& v) { return std::tie(v.ino, v.owner_prefix); }

// Of this client's requests, the one with this number.
struct FindDoneRequest {
  uint32_t number = 0;
};
inline auto FieldsOf(FindDoneRequest& v) { return std::tie(v.number); }

struct FindDoneReply {
  InodeId ino = 0;
};
inline auto FieldsOf(FindDoneReply& v) { return std::tie(v.ino); }

struct AnswerBarrierRequest {
  uint64_t cookie = 0;
  bool written = false;
};
inline auto FieldsOf(AnswerBarrierRequest& v) { return std::tie(v.cookie, v.written); }

// Strings that break the contract's bounds travel cut to one byte more than allowed, or a little:
// the server refuses them for the same reason as if it had seen all.
inline constexpr size_t kWireNameMax = 512;
static_assert(kWireNameMax > fs::kNameMax && kWireNameMax > fs::kXattrNameMax);
inline constexpr size_t kWireSymlinkMax = fs::kSymlinkMax + 1;
inline constexpr size_t kWireLockOwnerMax = fs::kLockOwnerMax + 1;

}  // namespace prism::vrpc
