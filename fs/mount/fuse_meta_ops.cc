#include <sys/statvfs.h>

#include "fs/mount/fuse_ops.h"
#include "fs/mount/fuse_reply.h"
#include "fs/mount/worker.h"

namespace prism::mount {
namespace {

constexpr uint64_t kStatfsBlock = 4096;

fs::Timespec TimeOf(const timespec& time) {
  return fs::Timespec{.sec = time.tv_sec, .nsec = static_cast<uint32_t>(time.tv_nsec)};
}

void Init(void* userdata, fuse_conn_info* connection) {
  static_cast<MountContext*>(userdata)->on_init(*connection);
}

void Getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  if (auto known = ContextOf(req).own_changes.AttrOf(ino)) return ReplyAttr(req, *known);
  auto attr = ContextOf(req).fs.Getattr(CallerOf(req), ino);
  if (!attr) return ReplyError(req, attr.error());
  ReplyAttr(req, *attr);
}

void Setattr(fuse_req_t req, fuse_ino_t ino, struct stat* st, int fields, fuse_file_info*) {
  fs::SetAttr changes;
  if (fields & FUSE_SET_ATTR_MODE) changes.mode = st->st_mode & 07777;
  if (fields & FUSE_SET_ATTR_UID) changes.uid = st->st_uid;
  if (fields & FUSE_SET_ATTR_GID) changes.gid = st->st_gid;
  if (fields & FUSE_SET_ATTR_SIZE) changes.size = static_cast<uint64_t>(st->st_size);
  // The kernel sets ATIME together with ATIME_NOW.
  changes.atime_now = (fields & FUSE_SET_ATTR_ATIME_NOW) != 0;
  changes.mtime_now = (fields & FUSE_SET_ATTR_MTIME_NOW) != 0;
  if ((fields & FUSE_SET_ATTR_ATIME) && !changes.atime_now) changes.atime = TimeOf(st->st_atim);
  if ((fields & FUSE_SET_ATTR_MTIME) && !changes.mtime_now) changes.mtime = TimeOf(st->st_mtim);
  changes.kill_privileges = Worker::Current()->facts().kill_privileges;
  auto change = ContextOf(req).fs.Setattr(CallerOf(req), ino, changes);
  ContextOf(req).own_changes.Forget(ino);
  if (!change) return ReplyError(req, change.error());
  ReplyAttr(req, change->after);
}

void Readlink(fuse_req_t req, fuse_ino_t ino) {
  auto target = ContextOf(req).fs.Readlink(CallerOf(req), ino);
  if (!target) return ReplyError(req, target.error());
  fuse_reply_readlink(req, target->c_str());
}

void Statfs(fuse_req_t req, fuse_ino_t) {
  auto usage = ContextOf(req).fs.Statfs(CallerOf(req));
  if (!usage) return ReplyError(req, usage.error());
  struct statvfs result = {};
  result.f_bsize = kStatfsBlock;
  result.f_frsize = kStatfsBlock;
  result.f_blocks = usage->total_bytes / kStatfsBlock;
  result.f_bfree = usage->free_bytes / kStatfsBlock;
  result.f_bavail = result.f_bfree;
  result.f_files = usage->files + usage->free_files;
  result.f_ffree = usage->free_files;
  result.f_favail = usage->free_files;
  result.f_namemax = fs::kNameMax;
  fuse_reply_statfs(req, &result);
}

void ForgetOne(fuse_req_t req, fuse_ino_t ino, uint64_t references) {
  Forget(ContextOf(req), ino, references);
  fuse_reply_none(req);
}

void ForgetMany(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  for (size_t i = 0; i < count; ++i) Forget(ContextOf(req), forgets[i].ino, forgets[i].nlookup);
  fuse_reply_none(req);
}

}  // namespace

void InstallMetaOps(fuse_lowlevel_ops& ops) {
  ops.init = Init;
  ops.getattr = Getattr;
  ops.setattr = Setattr;
  ops.readlink = Readlink;
  ops.statfs = Statfs;
  ops.forget = ForgetOne;
  ops.forget_multi = ForgetMany;
}

}  // namespace prism::mount
