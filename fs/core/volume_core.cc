#include "fs/core/volume_core.h"

#include <spdlog/spdlog.h>

#include "fs/core/core_impl.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {

DataGate::~DataGate() {
  if (core_ != nullptr) core_->UnlockData();
}

Status FormatVolume(cow::VolumeMap& map) {
  auto transaction = map.Write();
  auto there = LoadInode(*transaction, kRootInode);
  if (there) return {};
  if (there.error() != Err::kStale) return Fail(there.error());
  InodeRecord root;
  root.attr.ino = kRootInode;  // AllocateInode begins behind it
  root.attr.type = FileType::kDirectory;
  root.attr.mode = 0755;
  root.attr.nlink = 2;
  root.attr.atime = root.attr.mtime = root.attr.ctime = root.attr.btime = Now();
  root.attr.change = 1;
  StoreInode(*transaction, root);
  transaction->AddUsage(1, 0);
  PRISM_TRY(transaction->Commit());
  return {};
}

VolumeCore::VolumeCore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

VolumeCore::~VolumeCore() {
  if (impl_->data.dirty_bytes() > 0 && !impl_->map->destroyed())
    spdlog::warn("volume {}: {} bytes of unsaved data are dropped", impl_->options.volume,
                 impl_->data.dirty_bytes());
}

std::shared_ptr<VolumeCore> VolumeCore::Open(std::shared_ptr<cow::VolumeMap> map,
                                             cow::ChunkStore& store, DirtyBudget& budget,
                                             const CoreOptions& options) {
  auto impl = std::make_unique<Impl>(std::move(map), store, budget, options);
  return std::shared_ptr<VolumeCore>(new VolumeCore(std::move(impl)));
}

std::shared_ptr<FileSystem> VolumeCore::Attach(const AttachOptions& options) {
  return std::make_shared<VolumeFs>(shared_from_this(), options);
}

Result<std::shared_ptr<FileSystem>> VolumeCore::Resume() {
  auto client = std::make_shared<VolumeFs>(shared_from_this(), AttachOptions{});
  PRISM_TRY(impl_->orphans.Claim(client->id()));
  return client;
}

uint32_t VolumeCore::attached() const { return impl_->clients.count(); }

Status VolumeCore::Flush() { return FlushAged(std::chrono::steady_clock::time_point::max()); }

Status VolumeCore::FlushAged(std::chrono::steady_clock::time_point now) {
  // Of a sealed volume only times of reading can wait: they are not kept any more.
  if (impl_->map->destroyed() || impl_->map->read_only()) {
    impl_->data.DiscardAll();
    return {};
  }
  const bool all = now == std::chrono::steady_clock::time_point::max();
  return impl_->data.FlushAll(all ? now : now - impl_->options.dirty_age);
}

BarrierResult VolumeCore::FlushClients(std::chrono::milliseconds timeout) {
  return impl_->clients.Barrier(timeout);
}

Result<DataGate> VolumeCore::LockData() {
  PRISM_TRY(Flush());  // most of it while writers still go on
  impl_->data.Stop();
  DataGate gate(shared_from_this());
  PRISM_TRY(Flush());
  return gate;
}

Status VolumeCore::TreeReplaced() {
  impl_->data.DiscardAll();
  impl_->requests.Reset();
  Status orphans = impl_->orphans.TreeReplaced();
  impl_->clients.TellAll();
  return orphans;
}

void VolumeCore::TellEntry(InodeId dir, std::string_view name) {
  impl_->clients.TellAllOfEntry(dir, name);
}

void VolumeCore::UnlockData() { impl_->data.Resume(); }

Result<bool> VolumeCore::ReapOrphans(size_t steps, bool all) {
  return impl_->orphans.Reap(steps, all);
}

void VolumeCore::KeepOrphans() { impl_->orphans.Keep(); }

void VolumeCore::EndLockGrace() {
  LockTable::Grants grants;
  impl_->locks.EndGrace(grants);
  for (const LockTable::Grant& grant : grants)
    impl_->clients.TellGranted(grant.client, grant.ino, grant.cookie);
}

uint64_t VolumeCore::dirty_bytes() const { return impl_->data.dirty_bytes(); }

}  // namespace prism::fs
