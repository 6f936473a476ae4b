#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>

#include "fs/mount/fuse_ops.h"
#include "fs/mount/fuse_reply.h"
#include "fs/mount/lock_keeper.h"

namespace prism::mount {
namespace {

// The kernel remembers ENOSYS: it opens and closes by itself from then on, and keeps what it has
// cached. (libfuse would say "opened" for a missing handler.)
void OpenUnseen(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, ENOSYS); }

void Open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  MountContext& context = ContextOf(req);
  if (!context.share_locks) return OpenUnseen(req, ino, info);
  if ((info->flags & O_ACCMODE) != O_RDONLY) context.lookups.MarkWritable(ino);
  info->fh = context.locks.NewFileHandle();
  info->keep_cache = 1;
  fuse_reply_open(req, info);
}

void Flush(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  MountContext& context = ContextOf(req);
  if (!context.share_locks) {
    fuse_reply_err(req, ENOSYS);
    return;
  }
  context.locks.Flush(CallerOf(req), ino, info->lock_owner);
  fuse_reply_err(req, 0);
}

void Release(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info) {
  ContextOf(req).locks.Release(CallerOf(req), ino, info->fh);
  fuse_reply_err(req, 0);
}

LockKeeper::Request RequestOf(fuse_req_t req, fuse_ino_t ino, const fuse_file_info& info) {
  return {.ino = ino,
          .owner = info.lock_owner,
          .file = info.fh,
          .pid = static_cast<uint32_t>(fuse_req_ctx(req)->pid)};
}

// fcntl's range and type; the kernel has checked them and says them from the file's start.
bool SetRange(LockKeeper::Request& request, const struct flock& lock) {
  switch (lock.l_type) {
    case F_RDLCK:
      request.type = fs::LockType::kShared;
      break;
    case F_WRLCK:
      request.type = fs::LockType::kExclusive;
      break;
    case F_UNLCK:
      request.type = fs::LockType::kUnlock;
      break;
    default:
      return false;
  }
  request.start = static_cast<uint64_t>(lock.l_start);
  request.length = static_cast<uint64_t>(lock.l_len);
  return true;
}

void Getlk(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, struct flock* lock) {
  LockKeeper::Request request = RequestOf(req, ino, *info);
  if (!SetRange(request, *lock)) return ReplyError(req, Err::kInvalid);
  auto holder = ContextOf(req).locks.Test(CallerOf(req), request);
  if (!holder) return ReplyError(req, holder.error());
  struct flock answer = *lock;
  if (!*holder) {
    answer.l_type = F_UNLCK;
  } else {
    answer.l_type = (*holder)->type == fs::LockType::kShared ? F_RDLCK : F_WRLCK;
    answer.l_start = static_cast<off_t>((*holder)->start);
    answer.l_len = static_cast<off_t>((*holder)->length);
    // A number of another machine says nothing here, or the wrong thing.
    answer.l_pid = (*holder)->own_client ? static_cast<pid_t>((*holder)->pid) : 0;
  }
  answer.l_whence = SEEK_SET;
  fuse_reply_lock(req, &answer);
}

void Setlk(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, struct flock* lock, int sleep) {
  LockKeeper::Request request = RequestOf(req, ino, *info);
  if (!SetRange(request, *lock)) return ReplyError(req, Err::kInvalid);
  // The process that F_GETLK names; the one that asks may be a thread of it.
  if (lock->l_pid > 0) request.pid = static_cast<uint32_t>(lock->l_pid);
  ContextOf(req).locks.Set(req, request, sleep != 0);
}

void Flock(fuse_req_t req, fuse_ino_t ino, fuse_file_info* info, int operation) {
  LockKeeper::Request request = RequestOf(req, ino, *info);
  request.kind = fs::LockKind::kFlock;
  switch (operation & ~LOCK_NB) {
    case LOCK_SH:
      request.type = fs::LockType::kShared;
      break;
    case LOCK_EX:
      request.type = fs::LockType::kExclusive;
      break;
    case LOCK_UN:
      request.type = fs::LockType::kUnlock;
      break;
    default:
      return ReplyError(req, Err::kInvalid);
  }
  ContextOf(req).locks.Set(req, request, (operation & LOCK_NB) == 0);
}

}  // namespace

void InstallLockOps(fuse_lowlevel_ops& ops) {
  ops.open = Open;
  ops.opendir = OpenUnseen;
  ops.flush = Flush;
  ops.release = Release;
  ops.getlk = Getlk;
  ops.setlk = Setlk;
  ops.flock = Flock;
}

}  // namespace prism::mount
