// Locks; tests/model/locks.cc has the rest.
#include "tests/model/model_file_system.h"
#include "tests/model/node.h"

namespace prism::model {

void ModelFileSystem::GrantLocks() {
  for (const Locks::Entry& granted : volume_->locks.GrantWhatCan())
    for (ModelFileSystem* client : volume_->attached)
      if (client == std::get<0>(granted.owner) && client->listener_ != nullptr)
        client->listener_->OnEvent(
            {fs::Event::Kind::kLockGranted, granted.ino, {}, granted.cookie});
}

Status ModelFileSystem::Lock(const fs::Caller& caller, const fs::LockArgs& args) {
  std::lock_guard lock(world_->mutex);
  if (args.type != fs::LockType::kUnlock) {
    PRISM_ASSIGN(Node * node, Find(args.ino));
    bool exclusive = args.type == fs::LockType::kExclusive;
    PRISM_TRY(CheckData(caller, *node, exclusive ? kMayWrite : kMayRead));
  }
  Status status = volume_->locks.Set(this, args);
  GrantLocks();
  if (volume_->destroyed) return Fail(Err::kStale);
  return status;
}

Result<std::optional<fs::LockHolder>> ModelFileSystem::TestLock(const fs::Caller& caller,
                                                                const fs::LockArgs& args) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, Find(args.ino));
  bool exclusive = args.type == fs::LockType::kExclusive;
  PRISM_TRY(CheckData(caller, *node, exclusive ? kMayWrite : kMayRead));
  return volume_->locks.Test(this, args);
}

Status ModelFileSystem::CancelLock(const fs::Caller&, uint64_t cookie) {
  std::lock_guard lock(world_->mutex);
  Status status = volume_->locks.Cancel(this, cookie);
  if (volume_->destroyed) return Fail(Err::kStale);
  return status;
}

Status ModelFileSystem::DropLocks(const fs::Caller&, InodeId ino, std::string_view owner_prefix) {
  std::lock_guard lock(world_->mutex);
  volume_->locks.Drop(this, ino, std::string(owner_prefix));
  GrantLocks();
  if (volume_->destroyed) return Fail(Err::kStale);
  return {};
}

}  // namespace prism::model
