#include "fs/core/host_impl.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>

namespace prism::fs {
namespace {

constexpr std::chrono::milliseconds kTendInterval{200};

cow::Codec CodecOf(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return cow::Codec::kNone;
    case Compression::kLz4:
      return cow::Codec::kLz4;
    case Compression::kZstd:
      return cow::Codec::kZstd;
  }
  return cow::Codec::kNone;
}

}  // namespace

Outcome<std::unique_ptr<Host>> Host::Open(const HostOptions& options) {
  cow::EngineOptions engine;
  engine.directory = options.directory;
  engine.codec = CodecOf(options.compression);
  engine.node_cache_bytes = options.node_cache_bytes;
  engine.chunk_cache_bytes = options.chunk_cache_bytes;
  engine.checkpoint_interval_ms = options.checkpoint_interval_ms;
  PRISM_ASSIGN(std::unique_ptr<clone::Catalog> catalog, clone::Catalog::Open(engine));
  auto host = std::make_unique<HostImpl>(options, std::move(catalog));
  PRISM_TRY(host->Begin());
  return std::unique_ptr<Host>(std::move(host));
}

HostImpl::HostImpl(const HostOptions& options, std::unique_ptr<clone::Catalog> catalog)
    : options_(options),
      leftovers_from_(std::chrono::steady_clock::now() +
                      std::chrono::milliseconds(options.resume_grace_ms)),
      catalog_(std::move(catalog)),
      budget_(options.dirty_bytes_max),
      flusher_(std::clamp(std::thread::hardware_concurrency(), 1u, 4u)) {}

Outcome<void> HostImpl::Begin() {
  PRISM_TRY(LoadWriteVerifier());
  lock_memory_.Open(options_.directory + "/held-locks", options_.resume_grace_ms > 0);
  background_ = std::thread([this] { RunBackground(); });
  return {};
}

HostImpl::~HostImpl() {
  if (!background_.joinable()) return;
  {
    std::lock_guard lock(background_mutex_);
    stopping_ = true;
  }
  background_wake_.notify_all();
  stop_counting_ = true;
  background_.join();
  if (counting_.valid()) counting_.wait();
  if (Status flushed = Flush(); !flushed)
    spdlog::error("the last flush failed: {}", NameOf(flushed.error()));
  else
    NoteAllSaved();
  cores_.clear();
}

std::shared_ptr<VolumeCore> HostImpl::CoreOf(const std::shared_ptr<clone::Volume>& volume) {
  std::lock_guard lock(cores_mutex_);
  std::shared_ptr<VolumeCore>& core = cores_[volume->id()];
  if (core == nullptr) {
    CoreOptions options;
    options.volume = volume->id();
    options.dirty_age = std::chrono::milliseconds(options_.flush_interval_ms);
    options.leftovers_from = leftovers_from_;
    options.flusher = &flusher_;
    options.lock_memory = &lock_memory_;
    core = VolumeCore::Open(OpenMapOf(volume), catalog_->engine().chunks(), budget_, options);
  }
  return core;
}

std::shared_ptr<VolumeCore> HostImpl::OpenCoreOf(VolumeId id) {
  std::lock_guard lock(cores_mutex_);
  auto it = cores_.find(id);
  return it == cores_.end() ? nullptr : it->second;
}

std::vector<std::pair<VolumeId, std::shared_ptr<VolumeCore>>> HostImpl::Cores() {
  std::lock_guard lock(cores_mutex_);
  return {cores_.begin(), cores_.end()};
}

VolumeInfo HostImpl::InfoOf(const clone::CatalogEntry& entry) {
  VolumeInfo info;
  info.id = entry.row.id;
  info.name = entry.row.name;
  info.parent = entry.row.parent;
  info.parent_id = entry.row.parent_id;
  info.snapshot_of = entry.row.snapshot_of;
  info.importing = entry.row.importing;
  info.sealed = entry.row.sealed;
  info.flushed = entry.row.flushed;
  info.created_sec = entry.row.created_sec;
  info.expires_sec = entry.row.expires_sec;
  info.holds = entry.row.holds;
  info.inodes = entry.row.inodes;
  info.logical_bytes = entry.row.bytes;
  info.referenced_bytes = ReferencedBytes(entry.row);
  info.quota = entry.row.quota;
  info.charged_bytes = entry.row.Usage().charged_bytes;
  info.composed = entry.row.composition.composed();
  info.uncounted = entry.row.composition.uncounted;
  if (std::shared_ptr<VolumeCore> core = OpenCoreOf(entry.row.id)) info.attached = core->attached();
  return info;
}

std::vector<VolumeInfo> HostImpl::InfosOf(const std::vector<clone::CatalogEntry>& entries) {
  std::vector<VolumeInfo> infos;
  infos.reserve(entries.size());
  for (const clone::CatalogEntry& entry : entries) infos.push_back(InfoOf(entry));
  return infos;
}

// Nobody sees a volume before its root directory is there.
Outcome<VolumeInfo> HostImpl::Create(std::string_view name, bool importing,
                                     std::string_view request_key) {
  if (importing) {
    PRISM_ASSIGN(clone::CatalogEntry filled, catalog_->Create(name, true));
    if (Status formatted = FormatVolume(*filled.volume); !formatted) {
      (void)catalog_->Destroy({std::string(name)});
      return Failed(formatted.error(), "making the root directory");
    }
    return Show(name);
  }
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "create", {std::string(name)}));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return InfoOf(done->front());
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->CreateUnborn());
  HiddenVolumes unborn(*catalog_, {entry});
  if (Status formatted = FormatVolume(*entry.volume); !formatted)
    return Failed(formatted.error(), "making the root directory");
  PRISM_ASSIGN(const std::vector<VolumeInfo> infos, Reveal(unborn, {std::string(name)}, request));
  return infos.front();
}

Outcome<void> HostImpl::Publish(std::string_view name) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  if (std::shared_ptr<VolumeCore> core = OpenCoreOf(entry.row.id)) {
    if (Status flushed = core->Flush(); !flushed)
      return Failed(flushed.error(), "writing the imported files");
  }
  return catalog_->Publish(name);
}

Outcome<std::vector<VolumeInfo>> HostImpl::Clone(std::string_view source,
                                                 const std::vector<std::string>& targets,
                                                 std::string_view request_key,
                                                 const cow::QuotaChange& quota) {
  PRISM_ASSIGN(CloneResult result,
               CloneWith(source, targets, {.request_key = request_key, .quota = quota}));
  return std::move(result.volumes);
}

Outcome<void> HostImpl::Destroy(const std::vector<std::string>& names, bool recursive,
                                std::string_view request_key) {
  std::vector<std::string> arguments = names;
  arguments.emplace_back(recursive ? "recursive" : "");
  PRISM_ASSIGN(const clone::Request request, clone::NameRequest(request_key, "destroy", arguments));
  PRISM_ASSIGN(const auto done, catalog_->FindDone(request));
  if (done) return {};
  PRISM_ASSIGN(std::vector<clone::CatalogEntry> entries, catalog_->WouldDestroy(names, recursive));
  std::vector<VolumeId> ids;
  for (const clone::CatalogEntry& entry : entries) ids.push_back(entry.row.id);
  PRISM_TRY(catalog_->Destroy(names, recursive, request));
  DropCores(ids);
  for (const clone::CatalogEntry& entry : entries)
    if (entry.row.snapshot_of != 0) TellSnapshot(entry.row.snapshot_of, entry.row.name);
  return {};
}

void HostImpl::DropCores(const std::vector<VolumeId>& ids) {
  std::vector<std::shared_ptr<VolumeCore>> gone;  // destroyed outside of the lock
  std::lock_guard lock(cores_mutex_);
  for (VolumeId id : ids) {
    auto it = cores_.find(id);
    if (it == cores_.end()) continue;
    gone.push_back(std::move(it->second));
    cores_.erase(it);
  }
}

Outcome<VolumeInfo> HostImpl::Rename(std::string_view from, std::string_view to,
                                     std::string_view request_key) {
  PRISM_ASSIGN(const clone::Request request,
               clone::NameRequest(request_key, "rename", {std::string(from), std::string(to)}));
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Rename(from, to, request));
  if (entry.row.snapshot_of != 0)
    for (std::string_view name : {from, to}) TellSnapshot(entry.row.snapshot_of, name);
  return InfoOf(entry);
}

std::vector<VolumeInfo> HostImpl::List() { return InfosOf(catalog_->List()); }

Outcome<VolumeInfo> HostImpl::Show(std::string_view name) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  return InfoOf(entry);
}

Outcome<VolumeInfo> HostImpl::Show(VolumeId id) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(id));
  return InfoOf(entry);
}

StoreStats HostImpl::Stats() {
  cow::Engine& engine = catalog_->engine();
  StoreStats stats;
  for (const clone::CatalogEntry& entry : catalog_->List()) {
    ++stats.volumes;
    stats.logical_bytes += entry.row.bytes;
  }
  stats.chunks = engine.chunks().count();
  stats.unique_bytes = engine.chunks().unique_bytes();
  stats.stored_bytes = engine.stored_bytes();
  stats.nodes = engine.nodes().live_count();
  stats.metadata_bytes = engine.kv().SizeBytes();
  stats.journal_records = engine.journal().last_lsn();
  stats.checkpoints = engine.checkpoint_count();
  stats.free_bytes = engine.chunks().FreeBytes();
  stats.pending_nodes = engine.dead_count();
  return stats;
}

Outcome<std::shared_ptr<FileSystem>> HostImpl::Attach(std::string_view name, bool importing) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  if (entry.row.importing && !importing)
    return Explain(Err::kBusy, "volume \"{}\" is still being imported", name);
  return CoreOf(entry.volume)->Attach();
}

Outcome<clone::CatalogEntry> HostImpl::FindReady(VolumeId id) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(id));
  if (entry.row.importing)
    return Explain(Err::kBusy, "volume \"{}\" is still being imported", entry.row.name);
  return entry;
}

Outcome<std::shared_ptr<FileSystem>> HostImpl::Attach(VolumeId id) {
  PRISM_ASSIGN(clone::CatalogEntry entry, FindReady(id));
  return CoreOf(entry.volume)->Attach();
}

Outcome<std::shared_ptr<FileSystem>> HostImpl::Resume(VolumeId id) {
  PRISM_ASSIGN(clone::CatalogEntry entry, FindReady(id));
  Result<std::shared_ptr<FileSystem>> client = CoreOf(entry.volume)->Resume();
  if (!client) return Failed(client.error(), "looking for unlinked files");
  return *client;
}

void HostImpl::KeepOrphans() {
  lock_memory_.Keep();
  for (const auto& [id, core] : Cores()) core->KeepOrphans();
}

Outcome<std::shared_ptr<FileSystem>> HostImpl::AttachNetwork(VolumeId id) {
  PRISM_ASSIGN(clone::CatalogEntry entry, FindReady(id));
  return CoreOf(entry.volume)->Attach({.holds_orphans = false});
}

uint64_t HostImpl::Mark() { return catalog_->engine().journal().last_lsn(); }

Status HostImpl::WaitDurable(uint64_t mark) {
  return catalog_->engine().journal().WaitDurable(mark);
}

Status HostImpl::Flush() {
  for (const auto& [id, core] : Cores()) PRISM_TRY(core->Flush());
  cow::Journal& journal = catalog_->engine().journal();
  return journal.WaitDurable(journal.last_lsn());
}

Status HostImpl::Checkpoint() { return catalog_->engine().Checkpoint(); }

Status HostImpl::Drain() {
  for (const auto& [id, core] : Cores()) {
    for (bool more = true; more;) {
      PRISM_ASSIGN(more, core->ReapOrphans(8, true));
    }
  }
  return catalog_->engine().Drain();
}

void HostImpl::EndLockGrace() {
  lock_memory_.GiveUp();
  for (const auto& [id, core] : Cores()) core->EndLockGrace();
}

void HostImpl::RunBackground() {
  bool grace_over = false;
  auto last_sync = std::chrono::steady_clock::now();
  std::unique_lock lock(background_mutex_);
  while (!stopping_) {
    background_wake_.wait_for(lock, kTendInterval, [this] { return stopping_; });
    lock.unlock();
    for (const auto& [id, core] : Cores()) Tend(id, core);
    if (!stop_counting_) StartCounting();
    auto now = std::chrono::steady_clock::now();
    if (!grace_over && now >= leftovers_from_) {
      ReapLeftovers();
      EndLockGrace();
      grace_over = true;
    }
    if (now - last_sync >= std::chrono::milliseconds(options_.flush_interval_ms)) {
      cow::Journal& journal = catalog_->engine().journal();
      (void)journal.WaitDurable(
          journal.last_lsn());  // a failure is logged, and kept by the journal
      last_sync = now;
      DestroyExpired();
    }
    lock.lock();
  }
}

void HostImpl::Tend(VolumeId id, const std::shared_ptr<VolumeCore>& core) {
  if (Status flushed = core->FlushAged(std::chrono::steady_clock::now()); !flushed)
    spdlog::error("volume {}: data cannot be written ({}) and waits", id, NameOf(flushed.error()));
  Result<bool> more = core->ReapOrphans();
  if (!more) {
    spdlog::error("volume {}: unlinked files cannot be freed ({})", id, NameOf(more.error()));
    return;
  }
  std::lock_guard lock(cores_mutex_);
  auto it = cores_.find(id);
  // Two owners: cores_ and our caller. Nobody can attach meanwhile: that takes this lock.
  if (!*more && it != cores_.end() && core.use_count() == 2 && core->attached() == 0 &&
      core->dirty_bytes() == 0)
    cores_.erase(it);
}

// Files that were open and unlinked when the last run ended.
void HostImpl::ReapLeftovers() {
  for (const clone::CatalogEntry& entry : catalog_->List()) {
    if (entry.row.snapshot_of != 0) continue;
    {
      std::lock_guard lock(background_mutex_);
      if (stopping_) return;
    }
    Tend(entry.row.id, CoreOf(entry.volume));
  }
}

}  // namespace prism::fs
