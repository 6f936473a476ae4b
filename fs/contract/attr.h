// Attributes of a file, and changes to them, as POSIX names them.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>

#include "fs/base/types.h"

namespace prism::fs {

struct Timespec {
  int64_t sec = 0;
  uint32_t nsec = 0;  // below 1,000,000,000
  auto operator<=>(const Timespec&) const = default;
};

enum class FileType : uint8_t {  // the values of RFC 1813's ftype3
  kRegular = 1,
  kDirectory = 2,
  kBlockDevice = 3,
  kCharDevice = 4,
  kSymlink = 5,
  kSocket = 6,
  kFifo = 7,
};

struct Attr {
  InodeId ino = 0;
  FileType type = FileType::kRegular;
  uint32_t mode = 0;  // the permission, set-id and sticky bits only (07777)
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;        // bytes; of a directory: entries x 32; of a symlink: target length
  uint64_t used_bytes = 0;  // what the file's data occupies logically: holes are not counted
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
  Timespec atime;
  Timespec mtime;
  Timespec ctime;
  Timespec btime;
  uint64_t change = 0;  // grows with every change of data or attributes of this inode
  bool operator==(const Attr&) const = default;
};

// What SETATTR changes; absent fields stay. Rules (POSIX chmod, chown, truncate, utimensat):
// ctime is set to now by every call that names a field; size changes set mtime too.
struct SetAttr {
  std::optional<uint32_t> mode;  // 07777
  std::optional<uint32_t> uid;
  std::optional<uint32_t> gid;
  std::optional<uint64_t> size;
  std::optional<Timespec> atime;
  std::optional<Timespec> mtime;
  bool atime_now = false;  // the server's clock
  bool mtime_now = false;
  // Only if ctime still is this, else kNotSync and nothing changes (RFC 1813, sattrguard3).
  std::optional<Timespec> if_ctime;
  // Set by imports alone: ctime cannot be set by POSIX means, so it is absent here on purpose.

  // Clear set-user-id, set-group-id (if group-executable) and security.capability, as the kernel
  // asks for on truncate and chown by a process without CAP_FSETID.
  bool kill_privileges = false;
};

// Attributes of one inode directly before and after an operation, taken under one lock, so that
// NFSv3's wcc_data tells the truth.
struct Change {
  Attr before;
  Attr after;
};

}  // namespace prism::fs
