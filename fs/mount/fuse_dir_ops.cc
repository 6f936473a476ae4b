#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <string_view>

#include "fs/mount/fuse_ops.h"
#include "fs/mount/fuse_reply.h"

namespace prism::mount {
namespace {

// The kernel's rename flags (linux/fs.h); the names clash with none of ours.
constexpr unsigned kKernelNoReplace = 1;
constexpr unsigned kKernelExchange = 2;

bool TypeOf(mode_t mode, fs::FileType& type) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      type = fs::FileType::kRegular;
      return true;
    case S_IFBLK:
      type = fs::FileType::kBlockDevice;
      return true;
    case S_IFCHR:
      type = fs::FileType::kCharDevice;
      return true;
    case S_IFSOCK:
      type = fs::FileType::kSocket;
      return true;
    case S_IFIFO:
      type = fs::FileType::kFifo;
      return true;
    default:
      return false;
  }
}

// The inode of a file handle that the kernel does not have in memory: it asks so for files too
// (open_by_handle_at, an export by the kernel's NFS server; FUSE_EXPORT_SUPPORT).
void LookupItself(fuse_req_t req, InodeId ino) {
  auto attr = ContextOf(req).fs.Getattr(CallerOf(req), ino);
  if (!attr) return ReplyError(req, attr.error());
  ReplyEntry(req, *attr, ContextOf(req).entry_timeout_s);
}

void Lookup(fuse_req_t req, fuse_ino_t dir, const char* name) {
  if (std::string_view(name) == ".") return LookupItself(req, dir);
  MountContext& context = ContextOf(req);
  const double timeout_s = EntryTimeout(context, dir, name);
  auto found = context.fs.Lookup(CallerOf(req), dir, name);
  if (found) {
    context.listings.LookedUp(dir);
    return ReplyEntry(req, found->attr, timeout_s);
  }
  if (found.error() == Err::kNoEntry) return ReplyNoEntry(req, timeout_s);
  ReplyError(req, found.error());
}

// `ticket`: of an operation in directory `dir`.
void ReplyCreated(fuse_req_t req, InodeId dir, uint64_t ticket,
                  const Result<fs::EntryResult>& result) {
  if (!result) return ReplyError(req, result.error());
  ContextOf(req).own_changes.Tell(dir, ticket, result->parent.after);
  ReplyEntry(req, result->attr, ContextOf(req).entry_timeout_s);
}

void Create(fuse_req_t req, const fs::CreateArgs& args) {
  uint64_t ticket = ContextOf(req).own_changes.Begin(args.parent);
  ReplyCreated(req, args.parent, ticket, ContextOf(req).fs.Create(CallerOf(req), args));
}

// Also what open(O_CREAT) makes a file with, as CREATE is not implemented. Whether it said O_EXCL
// is not known here, so a regular file that another mount has just made is ESTALE: the kernel then
// looks the name up afresh, and opens it, or fails by itself with EEXIST.
void Mknod(fuse_req_t req, fuse_ino_t dir, const char* name, mode_t mode, dev_t device) {
  fs::CreateArgs args{.parent = dir, .name = name, .mode = mode & 07777u};
  if (!TypeOf(mode, args.type)) return ReplyError(req, Err::kInvalid);
  args.umask = fuse_req_ctx(req)->umask;
  if (args.type == fs::FileType::kBlockDevice || args.type == fs::FileType::kCharDevice) {
    args.rdev_major = major(device);
    args.rdev_minor = minor(device);
  }
  MountContext& context = ContextOf(req);
  uint64_t ticket = context.own_changes.Begin(dir);
  auto made = context.fs.Create(CallerOf(req), args);
  if (!made && made.error() == Err::kExists && args.type == fs::FileType::kRegular)
    return ReplyError(req, Err::kStale);
  if (made && args.type == fs::FileType::kRegular) context.own_changes.Made(made->attr.ino);
  ReplyCreated(req, dir, ticket, made);
}

void Mkdir(fuse_req_t req, fuse_ino_t dir, const char* name, mode_t mode) {
  fs::CreateArgs args{.parent = dir, .name = name, .type = fs::FileType::kDirectory};
  args.mode = mode & 07777;
  args.umask = fuse_req_ctx(req)->umask;
  Create(req, args);
}

void Symlink(fuse_req_t req, const char* target, fuse_ino_t dir, const char* name) {
  fs::CreateArgs args{.parent = dir, .name = name, .type = fs::FileType::kSymlink};
  args.mode = 0777;
  args.symlink_target = target;
  Create(req, args);
}

void Link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t dir, const char* name) {
  uint64_t ticket = ContextOf(req).own_changes.Begin(dir);
  ReplyCreated(req, dir, ticket, ContextOf(req).fs.Link(CallerOf(req), ino, dir, name));
}

void ReplyRemoved(fuse_req_t req, InodeId dir, uint64_t ticket,
                  const Result<fs::RemoveResult>& result) {
  if (!result) return ReplyError(req, result.error());
  ContextOf(req).own_changes.Tell(dir, ticket, result->parent.after);
  ContextOf(req).own_changes.Forget(result->removed.ino);
  if (result->removed.nlink == 0 && IsValidInode(result->removed.ino))
    ContextOf(req).invalidator.Orphaned(result->removed.ino);
  fuse_reply_err(req, 0);
}

void Unlink(fuse_req_t req, fuse_ino_t dir, const char* name) {
  uint64_t ticket = ContextOf(req).own_changes.Begin(dir);
  ReplyRemoved(req, dir, ticket, ContextOf(req).fs.Unlink(CallerOf(req), dir, name));
}

void Rmdir(fuse_req_t req, fuse_ino_t dir, const char* name) {
  uint64_t ticket = ContextOf(req).own_changes.Begin(dir);
  ReplyRemoved(req, dir, ticket, ContextOf(req).fs.Rmdir(CallerOf(req), dir, name));
}

void Rename(fuse_req_t req, fuse_ino_t from, const char* from_name, fuse_ino_t to,
            const char* to_name, unsigned kernel_flags) {
  if ((kernel_flags & ~(kKernelNoReplace | kKernelExchange)) != 0)
    return ReplyError(req, Err::kInvalid);
  uint32_t flags = fs::kRenameNone;
  if (kernel_flags & kKernelNoReplace) flags |= fs::kRenameNoReplace;
  if (kernel_flags & kKernelExchange) flags |= fs::kRenameExchange;
  OwnChanges& own = ContextOf(req).own_changes;
  uint64_t from_ticket = own.Begin(from);
  uint64_t to_ticket = to == from ? from_ticket : own.Begin(to);
  auto result = ContextOf(req).fs.Rename(CallerOf(req), from, from_name, to, to_name, flags);
  if (!result) return ReplyError(req, result.error());
  own.Tell(from, from_ticket, result->from_parent.after);
  if (to != from) own.Tell(to, to_ticket, result->to_parent.after);
  own.Forget(result->moved.ino);
  if (result->replaced) own.Forget(result->replaced->ino);
  if (result->replaced && result->replaced->nlink == 0 && IsValidInode(result->replaced->ino))
    ContextOf(req).invalidator.Orphaned(result->replaced->ino);
  fuse_reply_err(req, 0);
}

}  // namespace

void InstallDirOps(fuse_lowlevel_ops& ops) {
  ops.lookup = Lookup;
  ops.mknod = Mknod;
  ops.mkdir = Mkdir;
  ops.symlink = Symlink;
  ops.link = Link;
  ops.unlink = Unlink;
  ops.rmdir = Rmdir;
  ops.rename = Rename;
}

}  // namespace prism::mount
