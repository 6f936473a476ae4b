// The host's snapshots, and what would come back without them.
#include <spdlog/spdlog.h>

#include "fs/core/core_impl.h"
#include "fs/core/host_impl.h"
#include "fs/core/snapshot_view.h"

namespace prism::fs {
namespace {

constexpr int64_t kTtlSecMax = int64_t{100} * 366 * 24 * 3600;
constexpr size_t kExpiredAtOnce = 64;  // so that the background's other work never waits long

}  // namespace

// Data that has been acknowledged must be in the tree at the cut. A volume that nobody works with
// has none.
Outcome<DataGate> HostImpl::GateOf(VolumeId id) {
  std::shared_ptr<VolumeCore> core = OpenCoreOf(id);
  if (core == nullptr) return DataGate();
  Result<DataGate> gate = core->LockData();
  if (!gate) return Failed(gate.error(), "writing what the volume holds in memory");
  return std::move(*gate);
}

Outcome<std::vector<VolumeInfo>> HostImpl::Snapshot(const std::vector<std::string>& names,
                                                    int64_t ttl_sec, std::string_view request_key) {
  if (ttl_sec < 0 || ttl_sec > kTtlSecMax)
    return Explain(Err::kInvalid, "a snapshot lives for up to 100 years");
  std::vector<std::string> arguments = names;
  arguments.emplace_back(std::to_string(ttl_sec));
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "snapshot", arguments));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return InfosOf(*done);
  std::map<VolumeId, DataGate> gates;
  for (const std::string& name : names) {
    PRISM_ASSIGN(const clone::SnapshotName parsed, clone::ParseSnapshotName(name));
    PRISM_ASSIGN(clone::CatalogEntry source, catalog_->Find(parsed.volume));
    if (gates.contains(source.row.id)) continue;
    PRISM_ASSIGN(gates[source.row.id], GateOf(source.row.id));
  }
  const int64_t expires_sec = ttl_sec == 0 ? 0 : clone::NowSec() + ttl_sec;
  PRISM_ASSIGN(std::vector<clone::CatalogEntry> entries,
               catalog_->Snapshot(names, expires_sec, request));
  for (const clone::CatalogEntry& entry : entries)
    TellSnapshot(entry.row.snapshot_of, entry.row.name);
  for (const clone::CatalogEntry& entry : entries)
    if (entry.volume != nullptr && entry.row.composition.partial) OpenMapOf(entry.volume);
  return InfosOf(entries);
}

// What waits in memory is written first, though it is about to be left behind: should the rollback
// fail, nothing that was acknowledged is lost.
Outcome<VolumeInfo> HostImpl::Rollback(std::string_view name, std::string_view request_key) {
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "rollback", {std::string(name)}));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return InfoOf(done->front());
  PRISM_ASSIGN(const clone::SnapshotName parsed, clone::ParseSnapshotName(name));
  PRISM_ASSIGN(clone::CatalogEntry volume, catalog_->Find(parsed.volume));
  PRISM_TRY(catalog_->Find(name));
  // A core even where nobody works with the volume: one that came up meanwhile would not be told.
  std::shared_ptr<VolumeCore> core = CoreOf(volume.volume);
  PRISM_ASSIGN(const DataGate gate, GateOf(volume.row.id));
  PRISM_ASSIGN(volume, catalog_->Rollback(name, request));
  EmptyVolatile(*core->impl().map, volume.row.id, true);
  if (Status replaced = core->TreeReplaced(); !replaced)
    spdlog::error("volume {}: what its clients hold is not known after the rollback ({})",
                  volume.row.id, NameOf(replaced.error()));
  return InfoOf(volume);
}

void HostImpl::TellSnapshot(VolumeId volume, std::string_view name) {
  if (std::shared_ptr<VolumeCore> core = OpenCoreOf(volume))
    core->TellEntry(kSnapshotDir, name.substr(name.find('@') + 1));
}

Outcome<VolumeInfo> HostImpl::Hold(std::string_view name, std::string_view tag,
                                   std::string_view request_key) {
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "hold", {std::string(name), std::string(tag)}));
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Hold(name, tag, request));
  return InfoOf(entry);
}

Outcome<VolumeInfo> HostImpl::Release(std::string_view name, std::string_view tag,
                                      std::string_view request_key) {
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "release", {std::string(name), std::string(tag)}));
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Release(name, tag, request));
  return InfoOf(entry);
}

Outcome<ExclusiveUsage> HostImpl::CountExclusive(std::vector<clone::CatalogEntry> entries) {
  cow::Engine& engine = catalog_->engine();
  Result<ExclusiveUsage> usage = engine.WithoutCheckpoint([&]() -> Result<ExclusiveUsage> {
    PRISM_ASSIGN(cow::Forest::Exclusive exclusive, catalog_->CountExclusive(entries));
    PRISM_ASSIGN(uint64_t chunk_bytes, engine.chunks().ExclusiveBytes(exclusive.chunks));
    ExclusiveUsage usage;
    usage.bytes = chunk_bytes + exclusive.node_bytes;
    usage.metadata_bytes = exclusive.node_bytes;
    usage.inodes = exclusive.inodes;
    usage.volumes = entries.size();
    for (const clone::CatalogEntry& entry : entries) {
      usage.all_inodes += entry.row.inodes;
      usage.logical_bytes += entry.row.bytes;
      usage.referenced_bytes += ReferencedBytes(entry.row);
      usage.uncounted |= entry.row.composition.uncounted;
    }
    return usage;
  });
  if (!usage) return Failed(usage.error(), "counting");
  return *usage;
}

Outcome<ExclusiveUsage> HostImpl::Exclusive(std::string_view name) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  return CountExclusive({entry});
}

Outcome<ExclusiveUsage> HostImpl::WouldFree(const std::vector<std::string>& names, bool recursive) {
  PRISM_ASSIGN(std::vector<clone::CatalogEntry> entries, catalog_->WouldDestroy(names, recursive));
  return CountExclusive(entries);
}

void HostImpl::DestroyExpired() {
  const std::vector<std::string> names = catalog_->Expired(clone::NowSec(), kExpiredAtOnce);
  if (names.empty()) return;
  Outcome<void> destroyed = Destroy(names);
  if (destroyed)
    spdlog::info("{} snapshot(s) have expired, {} first", names.size(), names.front());
  else
    spdlog::warn("expired snapshots stay for now: {}", destroyed.error().message);
}

}  // namespace prism::fs
