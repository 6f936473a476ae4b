#include <sys/stat.h>
#include <sys/xattr.h>

#include <string>
#include <string_view>

#include "fs/mount/fuse_ops.h"
#include "fs/mount/fuse_reply.h"
#include "fs/mount/worker.h"

namespace prism::mount {
namespace {

// size 0 asks how much room is needed.
void ReplyBytes(fuse_req_t req, std::string_view bytes, size_t size) {
  if (size == 0) {
    fuse_reply_xattr(req, bytes.size());
  } else if (size < bytes.size()) {
    ReplyError(req, Err::kRange);
  } else {
    fuse_reply_buf(req, bytes.data(), bytes.size());
  }
}

void Getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  if (std::string_view(name) == "security.capability" &&
      ContextOf(req).own_changes.HasNoCapability(ino))
    return ReplyError(req, Err::kNoAttribute);
  auto value = ContextOf(req).fs.Getxattr(CallerOf(req), ino, name);
  if (!value) return ReplyError(req, value.error());
  ReplyBytes(req, *value, size);
}

// What chmod by a stranger to the group does: an access ACL sets the mode too.
Status ClearSetgid(fuse_req_t req, InodeId ino) {
  fs::FileSystem& fs = ContextOf(req).fs;
  fs::Caller caller = CallerOf(req);
  PRISM_ASSIGN(fs::Attr attr, fs.Getattr(caller, ino));
  if (!(attr.mode & S_ISGID)) return {};
  fs::SetAttr changes{.mode = attr.mode & ~static_cast<uint32_t>(S_ISGID)};
  PRISM_TRY(fs.Setattr(caller, ino, changes));
  return {};
}

void Setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size,
              int flags) {
  fs::XattrMode mode = fs::XattrMode::kSet;
  if (flags == XATTR_CREATE) mode = fs::XattrMode::kCreate;
  if (flags == XATTR_REPLACE) mode = fs::XattrMode::kReplace;
  if (flags == (XATTR_CREATE | XATTR_REPLACE)) return ReplyError(req, Err::kInvalid);
  Status status =
      ContextOf(req).fs.Setxattr(CallerOf(req), ino, name, std::string_view(value, size), mode);
  if (status && Worker::Current()->facts().kill_setgid) status = ClearSetgid(req, ino);
  ContextOf(req).own_changes.Forget(ino);
  ReplyStatus(req, status);
}

void Listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  fs::Caller caller = CallerOf(req);
  auto names = ContextOf(req).fs.Listxattr(caller, ino);
  if (!names) return ReplyError(req, names.error());
  std::string list;
  for (const std::string& name : *names) {
    // As other file systems do; the kernel itself refuses to read them.
    if (caller.uid != 0 && name.starts_with("trusted.")) continue;
    list.append(name);
    list.push_back('\0');
  }
  ReplyBytes(req, list, size);
}

void Removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  Status status = ContextOf(req).fs.Removexattr(CallerOf(req), ino, name);
  ContextOf(req).own_changes.Forget(ino);
  ReplyStatus(req, status);
}

}  // namespace

void InstallXattrOps(fuse_lowlevel_ops& ops) {
  ops.getxattr = Getxattr;
  ops.setxattr = Setxattr;
  ops.listxattr = Listxattr;
  ops.removexattr = Removexattr;
}

}  // namespace prism::mount
