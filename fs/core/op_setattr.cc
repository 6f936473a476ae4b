#include "fs/core/directory_attr.h"
#include "fs/core/op_xattr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {
namespace {

constexpr uint32_t kModeBits = 07777;
constexpr uint32_t kSetGid = 02000;

bool NamesSomething(const SetAttr& changes) {
  return changes.mode || changes.uid || changes.gid || changes.size || changes.atime ||
         changes.mtime || changes.atime_now || changes.mtime_now || changes.kill_privileges;
}

}  // namespace

Status CheckTimes(const SetAttr& changes) {
  constexpr uint32_t kSecond = 1000000000;
  if (changes.atime && changes.atime->nsec >= kSecond) return Fail(Err::kInvalid);
  if (changes.mtime && changes.mtime->nsec >= kSecond) return Fail(Err::kInvalid);
  return {};
}

// May the caller? And what the kernel would have added to the request, where it was not asked.
Status VolumeFs::CheckSetattr(const cow::ReadView& view, const Caller& caller,
                              const InodeRecord& record, SetAttr& changes) {
  const Attr& attr = record.attr;
  if (changes.if_ctime && *changes.if_ctime != attr.ctime) return Fail(Err::kNotSync);
  if (changes.size) {
    PRISM_TRY(RequireRegular(record));
    if (*changes.size > kFileSizeMax) return Fail(Err::kTooLarge);
    PRISM_TRY(RequireBodyAccess(view, impl_.key, caller, record, kMayWrite));
  }
  if (!caller.check_permission) return {};
  const bool root = caller.uid == 0;
  const uint32_t gid = changes.gid.value_or(attr.gid);
  if (changes.uid && !root && (*changes.uid != attr.uid || caller.uid != attr.uid))
    return Fail(Err::kPerm);
  if (changes.gid && !root) {
    if (caller.uid != attr.uid) return Fail(Err::kPerm);
    if (*changes.gid != attr.gid && !IsMember(caller, *changes.gid)) return Fail(Err::kPerm);
  }
  if (changes.mode) {
    PRISM_TRY(RequireOwner(caller, attr));
    if (!root && !IsMember(caller, gid)) *changes.mode &= ~kSetGid;
  }
  if (changes.atime || changes.mtime) {
    PRISM_TRY(RequireOwner(caller, attr));
  } else if ((changes.atime_now || changes.mtime_now) && caller.uid != attr.uid) {
    PRISM_TRY(RequireAccess(view, impl_.key, caller, record, kMayWrite));
  }
  // chown(2) and a truncation by who is not root take set-id bits away.
  if (changes.uid || changes.gid || (changes.size && !root)) changes.kill_privileges = true;
  return {};
}

Status VolumeFs::SetMode(cow::WriteTransaction& transaction, InodeRecord& record, uint32_t mode) {
  if (record.attr.type == FileType::kSymlink) return {};  // Linux: its mode means nothing
  record.attr.mode = mode & kModeBits;
  if ((record.flags & kHasAccessAcl) == 0) return {};
  PRISM_ASSIGN(const auto value, LoadXattr(transaction, impl_.key, record, kAccessAclName));
  if (!value) return Fail(Err::kCorrupt);
  auto acl = ParseAcl(*value);
  if (!acl || acl->empty()) return Fail(Err::kCorrupt);
  ApplyModeToAcl(*acl, mode);
  return PutXattr(transaction, impl_.key, record, kAccessAclName, FormatAcl(*acl));
}

Status VolumeFs::ApplyAttr(cow::WriteTransaction& transaction, InodeRecord& record,
                           const SetAttr& changes, const Timespec& now) {
  Attr& attr = record.attr;
  if (changes.mode) PRISM_TRY(SetMode(transaction, record, *changes.mode));
  if (changes.uid) attr.uid = *changes.uid;
  if (changes.gid) attr.gid = *changes.gid;
  if (changes.kill_privileges) PRISM_TRY(KillPrivileges(transaction, impl_.key, record));
  if (changes.atime || changes.atime_now) {
    attr.atime = changes.atime_now ? now : *changes.atime;
    impl_.data.lazy_times().Forget(attr.ino);
  }
  if (changes.mtime_now) {
    attr.mtime = now;
  } else if (changes.mtime) {
    attr.mtime = *changes.mtime;
  }
  if (NamesSomething(changes)) TouchInode(attr, now);
  return {};
}

Result<Change> VolumeFs::Setattr(const Caller& caller, InodeId ino, const SetAttr& asked) {
  PRISM_TRY(Writable(ino));
  PRISM_TRY(CheckTimes(asked));
  if (asked.size) {
    SetAttr changes = asked;
    auto check = [&](const cow::ReadView& view, const InodeRecord& record) {
      changes = asked;
      return CheckSetattr(view, caller, record, changes);
    };
    auto edit = [&](cow::WriteTransaction& transaction, InodeRecord& record) {
      return ApplyAttr(transaction, record, changes, Now());
    };
    PRISM_ASSIGN(const Change change, impl_.data.SetSize(ino, *asked.size, check, edit));
    impl_.clients.TellInode(id_, ino);
    return change;
  }
  Transaction transaction = impl_.map->Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, ino));
  SetAttr changes = asked;
  PRISM_TRY(CheckSetattr(*transaction, caller, record, changes));
  Change change;
  change.before = record.attr;
  PRISM_TRY(ApplyAttr(*transaction, record, changes, Now()));
  change.after = record.attr;
  if (change.before == change.after) return change;
  StoreInode(*transaction, record);
  PRISM_TRY(Commit(std::move(transaction), {}));
  impl_.clients.TellInode(id_, ino);
  return change;
}

}  // namespace prism::fs
