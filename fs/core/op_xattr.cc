// Getxattr, Setxattr, Listxattr and Removexattr.
#include "fs/core/op_xattr.h"

#include "fs/core/acl.h"
#include "fs/core/directory_attr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"
#include "fs/core/xattr_items.h"

namespace prism::fs {
namespace {

constexpr uint32_t kPermissionBits = 0777;
constexpr uint32_t kSetGid = 02000;
constexpr uint32_t kSticky = 01000;

bool IsAcl(std::string_view name) { return name == kAccessAclName || name == kDefaultAclName; }

constexpr std::string_view kUser = "user.";
constexpr std::string_view kTrusted = "trusted.";
constexpr std::string_view kSecurity = "security.";

bool IsUser(std::string_view name) { return name.starts_with(kUser); }
bool IsTrusted(std::string_view name) { return name.starts_with(kTrusted); }

// xattr(7): user attributes are for files and directories, under their permission bits; trusted
// ones for root, who else is not told of them.
Status MayRead(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
               const InodeRecord& record, std::string_view name) {
  if (!caller.check_permission) return {};
  if (IsTrusted(name) && caller.uid != 0) return Fail(Err::kNoAttribute);
  if (!IsUser(name)) return {};
  return RequireAccess(view, key, caller, record, kMayRead);
}

Status MayChange(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                 const InodeRecord& record, std::string_view name) {
  if (!caller.check_permission) return {};
  const Attr& attr = record.attr;
  if (IsAcl(name)) return RequireOwner(caller, attr);
  if (!IsUser(name)) return caller.uid == 0 ? Status{} : Fail(Err::kPerm);
  if (attr.type == FileType::kDirectory && (attr.mode & kSticky) != 0)
    PRISM_TRY(RequireOwner(caller, attr));
  return RequireAccess(view, key, caller, record, kMayWrite);
}

}  // namespace

Status CheckXattrName(FileType type, std::string_view name) {
  if (name.empty() || name.size() > kXattrNameMax) return Fail(Err::kRange);
  if (name.find('\0') != name.npos) return Fail(Err::kInvalid);
  if (IsAcl(name)) return {};
  for (std::string_view prefix : {kUser, kTrusted, kSecurity}) {
    if (!name.starts_with(prefix)) continue;
    if (name.size() == prefix.size()) return Fail(Err::kInvalid);
    const bool may_be_users = type == FileType::kRegular || type == FileType::kDirectory;
    if (prefix == kUser && !may_be_users) return Fail(Err::kPerm);
    return {};
  }
  return Fail(Err::kNotSupported);
}

Status CheckXattr(FileType type, std::string_view name, std::string_view value) {
  PRISM_TRY(CheckXattrName(type, name));
  if (value.size() > kXattrValueMax) return Fail(Err::kTooBig);
  if (!IsAcl(name)) return {};
  if (type == FileType::kSymlink) return Fail(Err::kNotSupported);
  PRISM_ASSIGN(const Acl acl, ParseAcl(value));
  if (name == kDefaultAclName && type != FileType::kDirectory && !acl.empty())
    return Fail(Err::kAccess);
  return {};
}

// The name and value have passed CheckXattr.
Status VolumeFs::StoreXattr(cow::WriteTransaction& transaction, InodeRecord& record,
                            std::string_view name, std::string_view value) {
  if (!IsAcl(name)) return PutXattr(transaction, impl_.key, record, name, value);
  PRISM_ASSIGN(const Acl acl, ParseAcl(value));
  const bool access = name == kAccessAclName;
  if (access && !acl.empty())
    record.attr.mode = (record.attr.mode & ~kPermissionBits) | ModeOfAcl(acl);
  // An access ACL that says what the mode says is not kept.
  if (acl.empty() || (access && IsMinimalAcl(acl))) {
    PRISM_TRY(EraseXattr(transaction, impl_.key, record, name));
    return {};
  }
  return PutXattr(transaction, impl_.key, record, name, FormatAcl(acl));
}

Result<std::string> VolumeFs::Getxattr(const Caller& caller, InodeId ino, std::string_view name) {
  PRISM_TRY(Alive());
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
  if (Status valid = CheckXattrName(record.attr.type, name); !valid)
    return Fail(valid.error() == Err::kPerm ? Err::kNoAttribute : valid.error());
  PRISM_TRY(MayRead(*view, impl_.key, caller, record, name));
  PRISM_ASSIGN(auto value, LoadXattr(*view, impl_.key, record, name));
  if (!value) return Fail(Err::kNoAttribute);
  return std::move(*value);
}

Status VolumeFs::Setxattr(const Caller& caller, InodeId ino, std::string_view name,
                          std::string_view value, XattrMode mode) {
  PRISM_TRY(Writable());
  if (mode > XattrMode::kReplace) return Fail(Err::kInvalid);
  Transaction transaction = impl_.map->Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, ino));
  PRISM_TRY(CheckXattrName(record.attr.type, name));
  PRISM_TRY(MayChange(*transaction, impl_.key, caller, record, name));
  PRISM_TRY(CheckXattr(record.attr.type, name, value));
  if (mode != XattrMode::kSet && !IsAcl(name)) {  // Linux: they mean nothing for an ACL
    PRISM_ASSIGN(const auto old, LoadXattr(*transaction, impl_.key, record, name));
    if (mode == XattrMode::kCreate && old) return Fail(Err::kExists);
    if (mode == XattrMode::kReplace && !old) return Fail(Err::kNoAttribute);
  }
  PRISM_TRY(impl_.data.RequireRoom(*transaction, 0, name.size() + value.size()));
  PRISM_TRY(StoreXattr(*transaction, record, name, value));
  if (IsAcl(name) && !IsRoot(caller) && !IsMember(caller, record.attr.gid))
    record.attr.mode &= ~kSetGid;
  TouchInode(record.attr, Now());
  StoreInode(*transaction, record);
  PRISM_TRY(Commit(std::move(transaction), {.request = caller.request, .ino = ino}));
  impl_.clients.TellInode(id_, ino);
  return {};
}

Result<std::vector<std::string>> VolumeFs::Listxattr(const Caller& caller, InodeId ino) {
  PRISM_TRY(Alive());
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
  std::vector<std::string> names;
  PRISM_TRY(ListXattrs(*view, record, [&](std::string_view name) {
    if (!IsRoot(caller) && IsTrusted(name)) return;
    names.emplace_back(name);
  }));
  return names;
}

Status VolumeFs::Removexattr(const Caller& caller, InodeId ino, std::string_view name) {
  PRISM_TRY(Writable());
  Transaction transaction = impl_.map->Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, ino));
  PRISM_TRY(CheckXattrName(record.attr.type, name));
  PRISM_TRY(MayChange(*transaction, impl_.key, caller, record, name));
  PRISM_ASSIGN(const bool erased, EraseXattr(*transaction, impl_.key, record, name));
  // Linux: an ACL that is not there is what the caller asked for.
  if (!erased && !IsAcl(name)) return Fail(Err::kNoAttribute);
  TouchInode(record.attr, Now());
  StoreInode(*transaction, record);
  PRISM_TRY(Commit(std::move(transaction), {.request = caller.request, .ino = ino}));
  impl_.clients.TellInode(id_, ino);
  return {};
}

}  // namespace prism::fs
