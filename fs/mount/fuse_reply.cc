#include "fs/mount/fuse_reply.h"

#include <sys/sysmacros.h>

#include <cerrno>

#include "fs/mount/root_daemon.h"

namespace prism::mount {
namespace {

// stdio and cp move this much at a time: each write(2) is a round trip.
constexpr blksize_t kPreferredIoBytes = 64 * 1024;

timespec TimeOf(const fs::Timespec& time) {
  return timespec{.tv_sec = time.sec, .tv_nsec = static_cast<long>(time.nsec)};
}

}  // namespace

MountContext& ContextOf(fuse_req_t req) {
  return *static_cast<MountContext*>(fuse_req_userdata(req));
}

fs::Caller CallerOf(fuse_req_t req) {
  const fuse_ctx* context = fuse_req_ctx(req);
  return fs::Caller{.uid = context->uid, .gid = context->gid};
}

bool IsValidInode(InodeId ino) { return ino != 0 && ino <= kInodeMax; }

uint32_t TypeBits(fs::FileType type) {
  switch (type) {
    case fs::FileType::kRegular:
      return S_IFREG;
    case fs::FileType::kDirectory:
      return S_IFDIR;
    case fs::FileType::kBlockDevice:
      return S_IFBLK;
    case fs::FileType::kCharDevice:
      return S_IFCHR;
    case fs::FileType::kSymlink:
      return S_IFLNK;
    case fs::FileType::kSocket:
      return S_IFSOCK;
    case fs::FileType::kFifo:
      return S_IFIFO;
  }
  return 0;
}

struct stat StatOf(const fs::Attr& attr) {
  struct stat st = {};
  st.st_ino = attr.ino;
  st.st_mode = TypeBits(attr.type) | (attr.mode & 07777);
  st.st_nlink = attr.nlink;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_size = static_cast<off_t>(attr.size);
  st.st_blocks = static_cast<blkcnt_t>((attr.used_bytes + 511) / 512);
  st.st_blksize = kPreferredIoBytes;
  st.st_rdev = makedev(attr.rdev_major, attr.rdev_minor);
  st.st_atim = TimeOf(attr.atime);
  st.st_mtim = TimeOf(attr.mtime);
  st.st_ctim = TimeOf(attr.ctime);
  return st;
}

void ReplyError(fuse_req_t req, Err err) { fuse_reply_err(req, ErrnoOf(err)); }

void ReplyStatus(fuse_req_t req, const Status& status) {
  fuse_reply_err(req, status ? 0 : ErrnoOf(status.error()));
}

void ReplyAttr(fuse_req_t req, const fs::Attr& attr) {
  struct stat st = StatOf(attr);
  fuse_reply_attr(req, &st, ContextOf(req).attr_timeout_s);
}

fuse_entry_param EntryOf(const MountContext& context, const fs::Attr& attr) {
  fuse_entry_param entry = {};
  entry.ino = attr.ino;
  entry.attr = StatOf(attr);
  entry.attr_timeout = context.attr_timeout_s;
  entry.entry_timeout = context.entry_timeout_s;
  return entry;
}

double EntryTimeout(const MountContext& context, InodeId dir, std::string_view name) {
  const bool lasts = context.is_root && (dir == kRootInode || name == kInitrdRelease);
  return lasts ? context.attr_timeout_s : context.entry_timeout_s;
}

void ReplyEntry(fuse_req_t req, const fs::Attr& attr, double timeout_s) {
  if (!IsValidInode(attr.ino)) return ReplyError(req, Err::kProtocol);
  MountContext& context = ContextOf(req);
  fuse_entry_param entry = EntryOf(context, attr);
  entry.entry_timeout = timeout_s;
  context.lookups.Add(attr.ino);
  if (fuse_reply_entry(req, &entry) != 0) Forget(context, attr.ino, 1);
}

void ReplyNoEntry(fuse_req_t req, double timeout_s) {
  fuse_entry_param entry = {};
  entry.entry_timeout = timeout_s;
  fuse_reply_entry(req, &entry);
}

void Forget(MountContext& context, InodeId ino, uint64_t references) {
  if (context.lookups.Forget(ino, references)) context.invalidator.ReleaseLater(ino);
}

}  // namespace prism::mount
