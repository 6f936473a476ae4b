// Volumes that are prepared before they are there, and volumes that stop changing.
#include "fs/core/host_impl.h"

namespace prism::fs {
namespace {

constexpr int kSealTries = 3;

}  // namespace

Outcome<std::vector<VolumeInfo>> HostImpl::Reveal(HiddenVolumes& unborn,
                                                  const std::vector<std::string>& names,
                                                  const clone::Request& request) {
  PRISM_ASSIGN(const std::vector<clone::CatalogEntry> entries,
               catalog_->Reveal(unborn.entries(), names, request));
  // Without volumes it is the answer to the same request, which somebody else was faster with.
  if (entries.front().volume != nullptr) unborn.Revealed();
  return InfosOf(entries);
}

Outcome<CloneResult> HostImpl::CloneWith(std::string_view source,
                                         const std::vector<std::string>& targets,
                                         const CloneOptions& options) {
  if (targets.empty()) return Explain(Err::kInvalid, "name at least one clone to make");
  if (options.barrier_ms.value_or(0) > kBarrierMsMax)
    return Explain(Err::kInvalid, "a barrier waits for {} ms at most", kBarrierMsMax);
  std::vector<std::string> arguments = targets;
  arguments.emplace_back(source);
  arguments.emplace_back(options.barrier_ms ? "barrier" : "");
  arguments.emplace_back(TextOf(options.quota));
  if (options.preparation != nullptr) arguments.push_back(options.preparation->description);
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(options.request_key, "clone", arguments));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) {
    const bool unflushed = options.barrier_ms && !done->front().row.flushed;
    return CloneResult{InfosOf(*done), unflushed ? "as was answered before" : ""};
  }
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(source));
  CloneResult result;
  if (options.barrier_ms) result.reason = FlushClients(entry.row.id, *options.barrier_ms);
  const bool flushed = options.barrier_ms && result.reason.empty();
  if (options.preparation == nullptr) {
    PRISM_ASSIGN(const DataGate gate, GateOf(entry.row.id));
    PRISM_ASSIGN(const std::vector<clone::CatalogEntry> entries,
                 catalog_->Clone(source, targets, request, options.quota, flushed));
    result.volumes = InfosOf(entries);
    return result;
  }
  PRISM_ASSIGN(std::vector<clone::CatalogEntry> entries,
               CloneUnborn(entry, source, targets.size(), options.quota, flushed));
  HiddenVolumes unborn(*catalog_, std::move(entries));
  for (size_t i = 0; i < targets.size(); ++i)
    PRISM_TRY(Prepare(unborn[i], targets[i], *options.preparation));
  PRISM_ASSIGN(result.volumes, Reveal(unborn, targets, request));
  return result;
}

Outcome<std::vector<clone::CatalogEntry>> HostImpl::CloneUnborn(const clone::CatalogEntry& source,
                                                                std::string_view name, size_t count,
                                                                const cow::QuotaChange& quota,
                                                                bool flushed) {
  PRISM_ASSIGN(const DataGate gate, GateOf(source.row.id));
  return catalog_->CloneUnborn(name, count, quota, flushed);
}

Outcome<void> HostImpl::Prepare(const clone::CatalogEntry& unborn, std::string_view target,
                                const Preparation& preparation) {
  const std::shared_ptr<VolumeCore> core = CoreOf(unborn.volume);
  Outcome<void> prepared = preparation.prepare(target, *core->Attach({.holds_orphans = false}));
  const Status flushed = prepared ? core->Flush() : Status();
  DropCores({unborn.row.id});
  PRISM_TRY(prepared);
  if (!flushed) return Failed(flushed.error(), "writing what the clone is given");
  return {};
}

std::string HostImpl::FlushClients(VolumeId id, uint32_t timeout_ms) {
  const std::shared_ptr<VolumeCore> core = OpenCoreOf(id);
  const BarrierResult result =
      core ? core->FlushClients(std::chrono::milliseconds(timeout_ms)) : BarrierResult{};
  if (result.network > 0) return "it is used over NFS, whose clients cannot be asked";
  if (result.mute > 0) return fmt::format("{} of its users cannot be asked", result.mute);
  if (result.asked == 0) return "no lane: nobody has mounted it";
  if (result.late > 0)
    return fmt::format("{} of {} mounts did not answer within {} ms", result.late, result.asked,
                       timeout_ms);
  if (result.failed > 0)
    return fmt::format("{} of {} mounts could not write everything", result.failed, result.asked);
  return {};
}

Outcome<VolumeInfo> HostImpl::Seal(std::string_view name, const Inspection& inspection,
                                   std::string_view request_key) {
  PRISM_ASSIGN(
      const clone::Request request,
      clone::NameRequest(request_key, "seal", {std::string(name), inspection.description}));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return InfoOf(done->front());
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  if (entry.row.snapshot_of != 0)
    return Explain(Err::kInvalid, "\"{}\" is a snapshot, and cannot be changed anyway", name);
  if (entry.row.sealed) return InfoOf(entry);
  // A core even where nobody works with the volume: who comes meanwhile must be held up too.
  const std::shared_ptr<VolumeCore> core = CoreOf(entry.volume);
  for (int i = 0; i < kSealTries; ++i) {
    std::vector<clone::CatalogEntry> pins;
    {
      PRISM_ASSIGN(const DataGate gate, GateOf(entry.row.id));
      PRISM_ASSIGN(pins, catalog_->Pin({std::string(name)}));
    }
    const HiddenVolumes pin(*catalog_, std::move(pins));
    PRISM_TRY(InspectPin(pin[0], inspection));
    PRISM_ASSIGN(const DataGate gate, GateOf(entry.row.id));
    Outcome<clone::CatalogEntry> sealed = catalog_->Seal(pin[0], request);
    if (sealed) return InfoOf(*sealed);
    if (sealed.error().code != Err::kAgain) return tl::unexpected(sealed.error());
  }
  return Explain(Err::kBusy,
                 "\"{}\" was changed each of the {} times that it was looked through: unmount it, "
                 "or seal a clone of it",
                 name, kSealTries);
}

Outcome<VolumeInfo> HostImpl::Inspect(std::string_view name, const Inspection& inspection) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  std::vector<clone::CatalogEntry> pins;
  {
    PRISM_ASSIGN(const DataGate gate, GateOf(entry.row.id));
    PRISM_ASSIGN(pins, catalog_->Pin({std::string(name)}));
  }
  const HiddenVolumes pin(*catalog_, std::move(pins));
  PRISM_TRY(InspectPin(pin[0], inspection));
  return InfoOf(entry);
}

Outcome<void> HostImpl::InspectPin(const clone::CatalogEntry& pin, const Inspection& inspection) {
  return inspection.inspect(*VolumeCore::Open(MapOf(pin.volume), catalog_->engine().chunks(),
                                              budget_, {.volume = pin.row.id})
                                 ->Attach());
}

}  // namespace prism::fs
