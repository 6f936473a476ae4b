// Data, listings and extended attributes through a mount.
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tests/conformance/identity.h"
#include "tests/conformance/mounted_file_system.h"

namespace prism::conformance {
namespace {

using fs::Attr;
using fs::Caller;
using fs::FallocateMode;
using fs::FileType;

struct Listed {
  InodeId ino;
  uint64_t cookie;
  unsigned char type;  // DT_*
  std::string name;
};

struct Listing {
  std::vector<Listed> entries;
  bool eof = false;
};

// What getdents64 fills its buffer with (linux/dirent.h).
struct KernelDirent {
  uint64_t ino;
  int64_t offset;
  uint16_t length;
  unsigned char type;
  char name[];
};

FileType TypeOf(unsigned char type) {
  switch (type) {
    case DT_DIR:
      return FileType::kDirectory;
    case DT_LNK:
      return FileType::kSymlink;
    case DT_CHR:
      return FileType::kCharDevice;
    case DT_BLK:
      return FileType::kBlockDevice;
    case DT_FIFO:
      return FileType::kFifo;
    case DT_SOCK:
      return FileType::kSocket;
    default:
      return FileType::kRegular;
  }
}

// From a cookie to the end of the directory, or until there are as many as one call may visit.
Result<Listing> ListFrom(int fd, uint64_t cookie) {
  if (lseek(fd, static_cast<off_t>(cookie), SEEK_SET) < 0) return FailErrno();
  Listing listing;
  alignas(KernelDirent) char buffer[65536];
  while (listing.entries.size() < fs::kReaddirEntriesMax) {
    long length = syscall(SYS_getdents64, fd, buffer, sizeof buffer);
    // As readdir(3): the end of a directory that has been removed.
    if (length < 0 && errno == ENOENT) length = 0;
    if (length < 0) return FailErrno();
    if (length == 0) {
      listing.eof = true;
      break;
    }
    for (long at = 0; at < length;) {
      const auto* entry = reinterpret_cast<const KernelDirent*>(buffer + at);
      at += entry->length;
      if (!std::strcmp(entry->name, ".") || !std::strcmp(entry->name, "..")) continue;
      listing.entries.push_back(
          {entry->ino, static_cast<uint64_t>(entry->offset), entry->type, entry->name});
    }
  }
  if (listing.entries.size() > fs::kReaddirEntriesMax) {
    listing.entries.resize(fs::kReaddirEntriesMax);
    listing.eof = false;
  }
  return listing;
}

int FlagsOf(FallocateMode mode) {
  switch (mode) {
    case FallocateMode::kAllocate:
      return 0;
    case FallocateMode::kAllocateKeep:
      return FALLOC_FL_KEEP_SIZE;
    case FallocateMode::kPunchHole:
      return FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    case FallocateMode::kZeroRange:
      return FALLOC_FL_ZERO_RANGE;
    case FallocateMode::kZeroRangeKeep:
      return FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
  }
  return -1;
}

int FlagsOf(fs::Stability stability) {
  switch (stability) {
    case fs::Stability::kUnstable:
      return 0;
    case fs::Stability::kDataSync:
      return RWF_DSYNC;
    case fs::Stability::kFileSync:
      return RWF_SYNC;
  }
  return -1;
}

Result<uint64_t> CountOf(ssize_t result) {
  if (result < 0) return FailErrno();
  return static_cast<uint64_t>(result);
}

Status StatusOf(int result) {
  if (result != 0) return FailErrno();
  return {};
}

}  // namespace

Result<fs::ReadResult> MountedFileSystem::Read(const Caller& caller, InodeId ino, uint64_t offset,
                                               std::span<std::byte> buffer) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  fs::ReadResult result;
  {
    Identity identity(caller);
    PRISM_ASSIGN(UniqueFd file, Reopen(fd, O_RDONLY));
    while (result.length < buffer.size()) {
      PRISM_ASSIGN(uint64_t piece, CountOf(pread(file.get(), buffer.data() + result.length,
                                                 buffer.size() - result.length,
                                                 static_cast<off_t>(offset + result.length))));
      if (piece == 0) break;
      result.length += piece;
    }
  }
  PRISM_ASSIGN(result.attr, AttrOf(fd));
  result.eof = offset + result.length >= result.attr.size;
  return result;
}

Result<fs::WriteResult> MountedFileSystem::Write(const Caller& caller, const fs::WriteArgs& args) {
  PRISM_ASSIGN(int fd, FdOf(args.ino));
  fs::WriteResult result;
  PRISM_ASSIGN(result.change.before, AttrOf(fd));
  result.offset = args.offset;
  result.committed = args.stability;
  {
    Identity identity(caller, args.kill_privileges);
    PRISM_ASSIGN(UniqueFd file, Reopen(fd, O_WRONLY | (args.append ? O_APPEND : 0)));
    const iovec iov = {.iov_base = const_cast<std::byte*>(args.data.data()),
                       .iov_len = args.data.size()};
    // -1: at the position, which then tells where an append went.
    const off_t at = args.append ? -1 : static_cast<off_t>(args.offset);
    PRISM_ASSIGN(result.length,
                 CountOf(pwritev2(file.get(), &iov, 1, at, FlagsOf(args.stability))));
    if (args.append) result.offset = lseek(file.get(), 0, SEEK_CUR) - result.length;
  }
  PRISM_ASSIGN(result.change.after, AttrOf(fd));
  return result;
}

Result<fs::ReaddirResult> MountedFileSystem::Readdir(
    const Caller& caller, InodeId dir, uint64_t cookie, bool with_attr,
    FunctionRef<bool(const fs::DirEntry&)> visitor) {
  PRISM_ASSIGN(int fd, FdOf(dir));
  Listing listing;
  {
    Identity identity(caller);
    PRISM_ASSIGN(UniqueFd file, Reopen(fd, O_RDONLY | O_DIRECTORY));
    PRISM_ASSIGN(listing, ListFrom(file.get(), cookie));
  }
  fs::ReaddirResult result;
  PRISM_ASSIGN(result.dir, AttrOf(fd));
  for (const Listed& listed : listing.entries) {
    fs::DirEntry entry;
    entry.cookie = listed.cookie;
    entry.ino = listed.ino;
    entry.type = TypeOf(listed.type);
    entry.name = listed.name;
    Attr attr;
    if (with_attr) {
      PRISM_ASSIGN(attr, KeepNamed(fd, listed.name));
      entry.attr = &attr;
    }
    if (!visitor(entry)) return result;
  }
  result.eof = listing.eof;
  return result;
}

Status MountedFileSystem::Fsync(const Caller& caller, InodeId ino, bool data_only) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  PRISM_ASSIGN(UniqueFd file, Reopen(fd, O_RDONLY));
  return StatusOf(data_only ? fdatasync(file.get()) : fsync(file.get()));
}

Status MountedFileSystem::Sync(const Caller& caller) {
  Identity identity(caller);
  PRISM_ASSIGN(UniqueFd root, Reopen(root_.get(), O_RDONLY));
  return StatusOf(syncfs(root.get()));
}

Result<std::string> MountedFileSystem::Getxattr(const Caller& caller, InodeId ino,
                                                std::string_view name) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  std::string value(fs::kXattrValueMax, '\0');
  PRISM_ASSIGN(uint64_t length, CountOf(getxattr(PathOf(fd).c_str(), std::string(name).c_str(),
                                                 value.data(), value.size())));
  value.resize(length);
  return value;
}

Status MountedFileSystem::Setxattr(const Caller& caller, InodeId ino, std::string_view name,
                                   std::string_view value, fs::XattrMode mode) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  int flags = static_cast<int>(mode);
  if (mode == fs::XattrMode::kCreate) flags = XATTR_CREATE;
  if (mode == fs::XattrMode::kReplace) flags = XATTR_REPLACE;
  return StatusOf(
      setxattr(PathOf(fd).c_str(), std::string(name).c_str(), value.data(), value.size(), flags));
}

Result<std::vector<std::string>> MountedFileSystem::Listxattr(const Caller& caller, InodeId ino) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  std::string list(fs::kXattrListMax, '\0');
  PRISM_ASSIGN(uint64_t length, CountOf(listxattr(PathOf(fd).c_str(), list.data(), list.size())));
  std::vector<std::string> names;
  for (size_t at = 0; at < length; at += names.back().size() + 1)
    names.emplace_back(list.c_str() + at);
  return names;
}

Status MountedFileSystem::Removexattr(const Caller& caller, InodeId ino, std::string_view name) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  return StatusOf(removexattr(PathOf(fd).c_str(), std::string(name).c_str()));
}

Result<fs::Change> MountedFileSystem::Fallocate(const Caller& caller, InodeId ino,
                                                FallocateMode mode, uint64_t offset,
                                                uint64_t length) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  fs::Change change;
  PRISM_ASSIGN(change.before, AttrOf(fd));
  {
    Identity identity(caller);
    PRISM_ASSIGN(UniqueFd file, Reopen(fd, O_WRONLY));
    PRISM_TRY(StatusOf(fallocate(file.get(), FlagsOf(mode), static_cast<off_t>(offset),
                                 static_cast<off_t>(length))));
  }
  PRISM_ASSIGN(change.after, AttrOf(fd));
  return change;
}

Result<uint64_t> MountedFileSystem::Seek(const Caller& caller, InodeId ino, uint64_t offset,
                                         fs::SeekWhence whence) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  PRISM_ASSIGN(UniqueFd file, Reopen(fd, O_RDONLY));
  return CountOf(lseek(file.get(), static_cast<off_t>(offset),
                       whence == fs::SeekWhence::kData ? SEEK_DATA : SEEK_HOLE));
}

Result<uint64_t> MountedFileSystem::CopyRange(const Caller& caller, InodeId from,
                                              uint64_t from_offset, InodeId to, uint64_t to_offset,
                                              uint64_t length) {
  PRISM_ASSIGN(int from_fd, FdOf(from));
  PRISM_ASSIGN(int to_fd, FdOf(to));
  Identity identity(caller);
  PRISM_ASSIGN(UniqueFd source, Reopen(from_fd, O_RDONLY));
  PRISM_ASSIGN(UniqueFd target, Reopen(to_fd, O_WRONLY));
  auto source_at = static_cast<loff_t>(from_offset), target_at = static_cast<loff_t>(to_offset);
  return CountOf(copy_file_range(source.get(), &source_at, target.get(), &target_at, length, 0));
}

}  // namespace prism::conformance
