// Inodes, names and attributes through a mount.
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fs/base/check.h"
#include "tests/conformance/identity.h"
#include "tests/conformance/mounted_file_system.h"

namespace prism::conformance {
namespace {

using fs::Attr;
using fs::Caller;
using fs::FileType;
using fs::Timespec;

// FUSE's file handle (fs/fuse/inode.c): the inode's number in two halves, and its generation.
struct FuseHandle {
  unsigned int size = 3 * sizeof(uint32_t);
  int type = 0x81;
  uint32_t words[3] = {};
};

FileType TypeOf(uint32_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return FileType::kDirectory;
    case S_IFLNK:
      return FileType::kSymlink;
    case S_IFCHR:
      return FileType::kCharDevice;
    case S_IFBLK:
      return FileType::kBlockDevice;
    case S_IFIFO:
      return FileType::kFifo;
    case S_IFSOCK:
      return FileType::kSocket;
    default:
      return FileType::kRegular;
  }
}

mode_t FormatOf(FileType type) {
  switch (type) {
    case FileType::kCharDevice:
      return S_IFCHR;
    case FileType::kBlockDevice:
      return S_IFBLK;
    case FileType::kFifo:
      return S_IFIFO;
    case FileType::kSocket:
      return S_IFSOCK;
    default:
      PRISM_CHECK(false);
      return 0;
  }
}

Timespec TimeOf(const statx_timestamp& time) { return {time.tv_sec, time.tv_nsec}; }

timespec TimeOf(const std::optional<Timespec>& time, bool now) {
  if (now) return {.tv_sec = 0, .tv_nsec = UTIME_NOW};
  if (!time) return {.tv_sec = 0, .tv_nsec = UTIME_OMIT};
  return {.tv_sec = time->sec, .tv_nsec = static_cast<long>(time->nsec)};
}

Attr AttrFrom(const struct statx& st) {
  Attr attr;
  attr.ino = st.stx_ino;
  attr.type = TypeOf(st.stx_mode);
  attr.mode = st.stx_mode & 07777;
  attr.nlink = st.stx_nlink;
  attr.uid = st.stx_uid;
  attr.gid = st.stx_gid;
  attr.size = st.stx_size;
  attr.used_bytes = st.stx_blocks * 512;
  attr.rdev_major = st.stx_rdev_major;
  attr.rdev_minor = st.stx_rdev_minor;
  attr.atime = TimeOf(st.stx_atime);
  attr.mtime = TimeOf(st.stx_mtime);
  attr.ctime = TimeOf(st.stx_ctime);
  return attr;
}

// The umask belongs to a thread that shares its file-system context with no other.
void SetUmask(uint32_t mask) {
  thread_local bool alone = unshare(CLONE_FS) == 0;
  PRISM_CHECK(alone);
  umask(mask);
}

// The system call that makes this; as the calling thread. `existed`: the name did, before.
int MakeEntry(int dir, const std::string& name, const fs::CreateArgs& args) {
  switch (args.type) {
    case FileType::kRegular: {
      int flags = O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
      if (args.exclusivity == fs::Exclusivity::kGuarded) flags |= O_EXCL;
      flags |= args.initial.size == 0u ? O_WRONLY | O_TRUNC : O_RDONLY;
      UniqueFd fd(openat(dir, name.c_str(), flags, args.mode));
      return fd ? 0 : -1;
    }
    case FileType::kDirectory:
      return mkdirat(dir, name.c_str(), args.mode);
    case FileType::kSymlink:
      return symlinkat(std::string(args.symlink_target).c_str(), dir, name.c_str());
    default:
      return mknodat(dir, name.c_str(), FormatOf(args.type) | args.mode,
                     makedev(args.rdev_major, args.rdev_minor));
  }
}

}  // namespace

Result<Attr> AttrOf(int fd) {
  struct statx st = {};
  if (statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &st) != 0) return FailErrno();
  return AttrFrom(st);
}

std::string PathOf(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

Result<UniqueFd> Reopen(int fd, int flags) {
  UniqueFd opened(open(PathOf(fd).c_str(), flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK));
  if (!opened) return FailErrno();
  return opened;
}

MountedFileSystem::MountedFileSystem(const std::string& directory, AwaitRelease await_release)
    : root_(open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
      await_release_(std::move(await_release)) {
  PRISM_CHECK(root_);
}

Result<int> MountedFileSystem::FdOf(InodeId ino) {
  if (ino == kRootInode) return root_.get();
  {
    std::lock_guard lock(mutex_);
    auto known = inodes_.find(ino);
    if (known != inodes_.end()) return known->second.get();
  }
  FuseHandle handle;
  handle.words[0] = static_cast<uint32_t>(ino >> 32);
  handle.words[1] = static_cast<uint32_t>(ino);
  UniqueFd mount(open(PathOf(root_.get()).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!mount) return FailErrno();
  UniqueFd fd(open_by_handle_at(mount.get(), reinterpret_cast<file_handle*>(&handle),
                                O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return FailErrno();
  const int number = fd.get();
  PRISM_ASSIGN(Attr attr, Keep(std::move(fd)));
  if (attr.ino != ino) return Fail(Err::kStale);
  return number;
}

Result<Attr> MountedFileSystem::Keep(UniqueFd fd) {
  PRISM_ASSIGN(Attr attr, AttrOf(fd.get()));
  std::lock_guard lock(mutex_);
  if (attr.ino != kRootInode) inodes_.try_emplace(attr.ino, std::move(fd));
  return attr;
}

Result<Attr> MountedFileSystem::KeepNamed(int dir, std::string_view name) {
  UniqueFd fd(openat(dir, std::string(name).c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return FailErrno();
  return Keep(std::move(fd));
}

Result<fs::StatfsResult> MountedFileSystem::Statfs(const Caller& caller) {
  Identity identity(caller);
  struct statfs st;
  if (fstatfs(root_.get(), &st) != 0) return FailErrno();
  const auto block = static_cast<uint64_t>(st.f_frsize);
  fs::StatfsResult result;
  result.total_bytes = st.f_blocks * block;
  result.free_bytes = st.f_bfree * block;
  result.used_bytes = result.total_bytes - result.free_bytes;
  result.files = st.f_files - st.f_ffree;
  result.free_files = st.f_ffree;
  return result;
}

Result<fs::EntryResult> MountedFileSystem::Lookup(const Caller& caller, InodeId dir,
                                                  std::string_view name) {
  PRISM_ASSIGN(int dir_fd, FdOf(dir));
  open_how how = {.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC, .mode = 0, .resolve = 0};
  // As after chroot: above the mount's root there is another file system.
  if (dir == kRootInode && name == "..") how.resolve = RESOLVE_IN_ROOT;
  UniqueFd fd;
  {
    Identity identity(caller);
    fd = UniqueFd(static_cast<int>(
        syscall(SYS_openat2, dir_fd, std::string(name).c_str(), &how, sizeof how)));
    if (!fd) return FailErrno();
  }
  fs::EntryResult result;
  PRISM_ASSIGN(result.attr, Keep(std::move(fd)));
  PRISM_ASSIGN(result.parent.before, AttrOf(dir_fd));
  result.parent.after = result.parent.before;
  return result;
}

Result<Attr> MountedFileSystem::Getattr(const Caller& caller, InodeId ino) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  return AttrOf(fd);
}

Result<fs::Change> MountedFileSystem::Setattr(const Caller& caller, InodeId ino,
                                              const fs::SetAttr& changes) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  fs::Change change;
  PRISM_ASSIGN(change.before, AttrOf(fd));
  {
    Identity identity(caller, changes.kill_privileges);
    // Owners first, for that takes set-id bits away.
    if ((changes.uid || changes.gid) &&
        fchownat(fd, "", changes.uid.value_or(-1), changes.gid.value_or(-1), AT_EMPTY_PATH) != 0)
      return FailErrno();
    if (changes.mode && chmod(PathOf(fd).c_str(), *changes.mode) != 0) return FailErrno();
    if (changes.size && truncate(PathOf(fd).c_str(), static_cast<off_t>(*changes.size)) != 0)
      return FailErrno();
    const timespec times[2] = {TimeOf(changes.atime, changes.atime_now),
                               TimeOf(changes.mtime, changes.mtime_now)};
    if ((times[0].tv_nsec != UTIME_OMIT || times[1].tv_nsec != UTIME_OMIT) &&
        utimensat(fd, "", times, AT_EMPTY_PATH) != 0)
      return FailErrno();
  }
  PRISM_ASSIGN(change.after, AttrOf(fd));
  return change;
}

Result<uint32_t> MountedFileSystem::Access(const Caller& caller, InodeId ino, uint32_t mask) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Caller checked = caller;
  checked.check_permission = true;
  Identity identity(checked);
  uint32_t granted = 0;
  for (int bit : {R_OK, W_OK, X_OK}) {
    if (!(mask & bit)) continue;
    if (syscall(SYS_faccessat2, fd, "", bit, AT_EACCESS | AT_EMPTY_PATH) == 0) {
      granted |= bit;
    } else if (errno != EACCES) {
      return FailErrno();
    }
  }
  return granted;
}

Result<std::string> MountedFileSystem::Readlink(const Caller& caller, InodeId ino) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  Identity identity(caller);
  std::string target(fs::kSymlinkMax + 1, '\0');
  ssize_t length = readlinkat(fd, "", target.data(), target.size());
  // The kernel's word for "not a symlink" where no name is given (fs/stat.c).
  if (length < 0 && errno == ENOENT) return Fail(Err::kInvalid);
  if (length < 0) return FailErrno();
  target.resize(length);
  return target;
}

Result<fs::EntryResult> MountedFileSystem::Create(const Caller& caller,
                                                  const fs::CreateArgs& args) {
  if (args.exclusivity == fs::Exclusivity::kVerified) return Fail(Err::kNotSupported);
  PRISM_ASSIGN(int dir, FdOf(args.parent));
  const std::string name(args.name);
  fs::EntryResult result;
  PRISM_ASSIGN(result.parent.before, AttrOf(dir));
  struct statx st;
  result.created = statx(dir, name.c_str(), AT_SYMLINK_NOFOLLOW, 0, &st) != 0;
  SetUmask(args.umask);
  {
    Identity identity(caller);
    if (MakeEntry(dir, name, args) != 0) return FailErrno();
  }
  PRISM_ASSIGN(result.attr, KeepNamed(dir, name));
  if (result.created) PRISM_TRY(Furnish(result.attr.ino, args));
  PRISM_ASSIGN(result.attr, Getattr(Caller{}, result.attr.ino));
  PRISM_ASSIGN(result.parent.after, AttrOf(dir));
  return result;
}

Status MountedFileSystem::Furnish(InodeId ino, const fs::CreateArgs& args) {
  for (const fs::Xattr& xattr : args.xattrs)
    PRISM_TRY(Setxattr(Caller{}, ino, xattr.name, xattr.value, fs::XattrMode::kSet));
  if (!args.data.empty()) {
    fs::WriteArgs write;
    write.ino = ino;
    write.data = args.data;
    PRISM_TRY(Write(Caller{}, write));
  }
  PRISM_TRY(Setattr(Caller{}, ino, args.initial));
  return {};
}

Result<fs::EntryResult> MountedFileSystem::Link(const Caller& caller, InodeId ino, InodeId dir,
                                                std::string_view name) {
  PRISM_ASSIGN(int fd, FdOf(ino));
  PRISM_ASSIGN(int dir_fd, FdOf(dir));
  fs::EntryResult result;
  result.created = true;
  PRISM_ASSIGN(result.parent.before, AttrOf(dir_fd));
  {
    Identity identity(caller);
    if (linkat(AT_FDCWD, PathOf(fd).c_str(), dir_fd, std::string(name).c_str(),
               AT_SYMLINK_FOLLOW) != 0)
      return FailErrno();
  }
  PRISM_ASSIGN(result.attr, AttrOf(fd));
  PRISM_ASSIGN(result.parent.after, AttrOf(dir_fd));
  return result;
}

Result<fs::RemoveResult> MountedFileSystem::Remove(const Caller& caller, InodeId dir,
                                                   std::string_view name, int flags) {
  PRISM_ASSIGN(int dir_fd, FdOf(dir));
  auto victim = KeepNamed(dir_fd, name);
  fs::RemoveResult result;
  PRISM_ASSIGN(result.parent.before, AttrOf(dir_fd));
  {
    Identity identity(caller);
    if (unlinkat(dir_fd, std::string(name).c_str(), flags) != 0) return FailErrno();
  }
  PRISM_TRY(victim);
  PRISM_ASSIGN(result.removed, Getattr(Caller{}, victim->ino));
  PRISM_ASSIGN(result.parent.after, AttrOf(dir_fd));
  return result;
}

Result<fs::RemoveResult> MountedFileSystem::Unlink(const Caller& caller, InodeId dir,
                                                   std::string_view name) {
  return Remove(caller, dir, name, 0);
}

Result<fs::RemoveResult> MountedFileSystem::Rmdir(const Caller& caller, InodeId dir,
                                                  std::string_view name) {
  return Remove(caller, dir, name, AT_REMOVEDIR);
}

Result<fs::RenameResult> MountedFileSystem::Rename(const Caller& caller, InodeId from_dir,
                                                   std::string_view from_name, InodeId to_dir,
                                                   std::string_view to_name, uint32_t flags) {
  PRISM_ASSIGN(int from, FdOf(from_dir));
  PRISM_ASSIGN(int to, FdOf(to_dir));
  auto moved = KeepNamed(from, from_name);
  auto target = KeepNamed(to, to_name);
  fs::RenameResult result;
  PRISM_ASSIGN(result.from_parent.before, AttrOf(from));
  PRISM_ASSIGN(result.to_parent.before, AttrOf(to));
  {
    Identity identity(caller);
    if (renameat2(from, std::string(from_name).c_str(), to, std::string(to_name).c_str(), flags))
      return FailErrno();
  }
  PRISM_TRY(moved);
  PRISM_ASSIGN(result.moved, Getattr(Caller{}, moved->ino));
  PRISM_ASSIGN(result.from_parent.after, AttrOf(from));
  PRISM_ASSIGN(result.to_parent.after, AttrOf(to));
  if (target && target->ino != moved->ino) {
    PRISM_ASSIGN(result.replaced, Getattr(Caller{}, target->ino));
  }
  return result;
}

Status MountedFileSystem::Release(const Caller&, InodeId ino) {
  UniqueFd last;
  {
    std::lock_guard lock(mutex_);
    auto known = inodes_.find(ino);
    if (known == inodes_.end()) return Fail(Err::kInvalid);
    PRISM_ASSIGN(Attr attr, AttrOf(known->second.get()));
    if (attr.nlink != 0) return Fail(Err::kInvalid);
    last = std::move(known->second);
    inodes_.erase(known);
  }
  last.Reset();
  if (!await_release_(ino)) return Fail(Err::kTimedOut);
  return {};
}

}  // namespace prism::conformance
