// Lock, TestLock, CancelLock and DropLocks: the locks themselves are in lock_table.h.
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {

// After the table's lock is free: listeners may look at anything.
void VolumeFs::TellGrants(const LockTable::Grants& grants) {
  for (const LockTable::Grant& grant : grants)
    impl_.clients.TellGranted(grant.client, grant.ino, grant.cookie);
}

Status VolumeFs::MayLock(const Caller& caller, InodeId ino, LockType type) const {
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
  if (type == LockType::kUnlock) return {};
  const uint32_t want = type == LockType::kExclusive ? kMayWrite : kMayRead;
  return RequireBodyAccess(*view, impl_.key, caller, record, want);
}

Status VolumeFs::Lock(const Caller& caller, const LockArgs& args) {
  // What is given up serves others, whatever has become of the inode or the volume.
  if (args.type != LockType::kUnlock) {
    PRISM_TRY(Alive());
    PRISM_TRY(MayLock(caller, args.ino, args.type));
  }
  LockTable::Grants grants;
  const Status status = impl_.locks.Set(id_, args, grants);
  TellGrants(grants);
  PRISM_TRY(Alive());
  return status;
}

Result<std::optional<LockHolder>> VolumeFs::TestLock(const Caller& caller, const LockArgs& args) {
  PRISM_TRY(Alive());
  PRISM_TRY(MayLock(caller, args.ino, args.type));
  return impl_.locks.Test(id_, args);
}

Status VolumeFs::CancelLock(const Caller&, uint64_t cookie) {
  const Status status = impl_.locks.Cancel(id_, cookie);
  PRISM_TRY(Alive());
  return status;
}

Status VolumeFs::DropLocks(const Caller&, InodeId ino, std::string_view owner_prefix) {
  LockTable::Grants grants;
  impl_.locks.Drop(id_, ino, owner_prefix, grants);
  TellGrants(grants);
  return Alive();
}

}  // namespace prism::fs
