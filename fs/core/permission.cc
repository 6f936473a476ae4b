#include "fs/core/permission.h"

#include <spdlog/spdlog.h>

#include "fs/core/xattr_items.h"

namespace prism::fs {
namespace {

constexpr uint32_t kSetUid = 04000;
constexpr uint32_t kSetGid = 02000;
constexpr uint32_t kSticky = 01000;
constexpr uint32_t kGroupExecute = 00010;

AclSubject SubjectOf(const Caller& caller) { return {caller.uid, caller.gid, caller.groups}; }

uint32_t GrantedByMode(const Caller& caller, const Attr& attr) {
  if (caller.uid == attr.uid) return (attr.mode >> 6) & 7;
  if (IsMember(caller, attr.gid)) return (attr.mode >> 3) & 7;
  return attr.mode & 7;
}

bool AsksAcl(const Caller& caller, const InodeRecord& record) {
  return (record.flags & kHasAccessAcl) != 0 && caller.uid != record.attr.uid;
}

Result<Acl> LoadAccessAcl(const cow::ReadView& view, const HashKeys& key,
                          const InodeRecord& record) {
  PRISM_ASSIGN(const auto value, LoadXattr(view, key, record, kAccessAclName));
  auto acl = value ? ParseAcl(*value) : Result<Acl>(Fail(Err::kCorrupt));
  if (acl && !acl->empty()) return acl;
  spdlog::error("inode {}: its stored access control list does not decode", record.attr.ino);
  return Fail(Err::kCorrupt);
}

}  // namespace

bool IsMember(const Caller& caller, uint32_t gid) { return InGroup(SubjectOf(caller), gid); }

Result<uint32_t> GrantedAccess(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                               const InodeRecord& record, uint32_t mask) {
  const Attr& attr = record.attr;
  mask &= kMayRead | kMayWrite | kMayExecute;
  if (caller.uid == 0) {
    const bool executable = attr.type == FileType::kDirectory || (attr.mode & 0111) != 0;
    return executable ? mask : mask & ~uint32_t{kMayExecute};
  }
  if (!AsksAcl(caller, record)) return GrantedByMode(caller, attr) & mask;
  PRISM_ASSIGN(const Acl acl, LoadAccessAcl(view, key, record));
  uint32_t granted = 0;
  for (uint32_t bit : {kMayRead, kMayWrite, kMayExecute})
    if ((mask & bit) != 0 && AclGrants(acl, SubjectOf(caller), attr.uid, attr.gid, bit))
      granted |= bit;
  return granted;
}

Status RequireAccess(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                     const InodeRecord& record, uint32_t want) {
  if (!caller.check_permission) return {};
  if (caller.uid != 0 && AsksAcl(caller, record)) {
    // One entry must grant all of it: what several groups grant does not add up.
    PRISM_ASSIGN(const Acl acl, LoadAccessAcl(view, key, record));
    const Attr& attr = record.attr;
    if (AclGrants(acl, SubjectOf(caller), attr.uid, attr.gid, want)) return {};
    return Fail(Err::kAccess);
  }
  PRISM_ASSIGN(const uint32_t granted, GrantedAccess(view, key, caller, record, want));
  if (granted != want) return Fail(Err::kAccess);
  return {};
}

Status RequireBodyAccess(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                         const InodeRecord& record, uint32_t want) {
  if (!caller.check_permission || caller.uid == record.attr.uid) return {};
  const uint32_t ask = want == kMayRead ? kMayRead | kMayExecute : want;
  PRISM_ASSIGN(const uint32_t granted, GrantedAccess(view, key, caller, record, ask));
  if (want == kMayRead ? granted == 0 : granted != want) return Fail(Err::kAccess);
  return {};
}

Status RequireOwner(const Caller& caller, const Attr& attr) {
  if (!caller.check_permission || caller.uid == 0 || caller.uid == attr.uid) return {};
  return Fail(Err::kPerm);
}

Status RequireUnsticky(const Caller& caller, const Attr& dir, const Attr& file) {
  if (!caller.check_permission || caller.uid == 0 || (dir.mode & kSticky) == 0) return {};
  if (caller.uid == dir.uid || caller.uid == file.uid) return {};
  return Fail(Err::kPerm);
}

Status RequireRemoval(const cow::ReadView& view, const HashKeys& key, const Caller& caller,
                      const InodeRecord& dir, const InodeRecord& file) {
  PRISM_TRY(RequireAccess(view, key, caller, dir, kMayWrite | kMayExecute));
  return RequireUnsticky(caller, dir.attr, file.attr);
}

bool HasPrivileges(const InodeRecord& record) {
  const uint32_t mode = record.attr.mode;
  if (record.attr.type == FileType::kDirectory) return false;
  return (mode & kSetUid) != 0 || (mode & (kSetGid | kGroupExecute)) == (kSetGid | kGroupExecute) ||
         (record.flags & kHasCapability) != 0;
}

Result<bool> KillPrivileges(cow::WriteTransaction& transaction, const HashKeys& key,
                            InodeRecord& record) {
  if (!HasPrivileges(record)) return false;
  uint32_t& mode = record.attr.mode;
  mode &= ~kSetUid;
  if ((mode & kGroupExecute) != 0) mode &= ~kSetGid;
  PRISM_TRY(EraseXattr(transaction, key, record, kCapabilityName));
  return true;
}

}  // namespace prism::fs
