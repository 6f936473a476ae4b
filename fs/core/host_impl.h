// The Host over the real engine.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "clone/catalog.h"
#include "fs/core/composer.h"
#include "fs/core/dirty_budget.h"
#include "fs/core/flusher.h"
#include "fs/core/hidden_volumes.h"
#include "fs/core/host.h"
#include "fs/core/volume_core.h"

namespace prism::fs {

inline tl::unexpected<Failure> Failed(Err err, std::string_view what) {
  return Explain(err, "{} failed ({}): see the server's log", what, NameOf(err));
}

// Of the names of requests.
std::string TextOf(const cow::QuotaChange& change);

class HostImpl : public Host {
 public:
  HostImpl(const HostOptions& options, std::unique_ptr<clone::Catalog> catalog);
  ~HostImpl() override;
  Outcome<void> Begin();  // once, before anything else

  Outcome<VolumeInfo> Create(std::string_view name, bool importing,
                             std::string_view request_key = {}) override;
  Outcome<void> Publish(std::string_view name) override;
  Outcome<std::vector<VolumeInfo>> Clone(std::string_view source,
                                         const std::vector<std::string>& targets,
                                         std::string_view request_key = {},
                                         const cow::QuotaChange& quota = {}) override;
  Outcome<VolumeInfo> SetQuota(std::string_view name, const cow::QuotaChange& change,
                               std::string_view request_key = {}) override;
  Outcome<CloneResult> CloneWith(std::string_view source, const std::vector<std::string>& targets,
                                 const CloneOptions& options) override;
  Outcome<VolumeInfo> Seal(std::string_view name, const Inspection& inspection,
                           std::string_view request_key = {}) override;
  Outcome<VolumeInfo> Inspect(std::string_view name, const Inspection& inspection) override;
  Outcome<std::vector<VolumeInfo>> Snapshot(const std::vector<std::string>& names, int64_t ttl_sec,
                                            std::string_view request_key = {}) override;
  Outcome<VolumeInfo> Rollback(std::string_view snapshot,
                               std::string_view request_key = {}) override;
  Outcome<MergeReport> RollbackPath(std::string_view snapshot, std::string_view path,
                                    std::string_view request_key = {}) override;
  Outcome<std::vector<MergeReport>> Rebase(const std::vector<std::string>& names,
                                           std::string_view onto, const MergeOptions& options,
                                           std::string_view request_key = {}) override;
  Outcome<MergeReport> Merge(std::string_view child, std::string_view into,
                             const MergeOptions& options,
                             std::string_view request_key = {}) override;
  Outcome<VolumeInfo> Compose(std::string_view name, const ComposeOptions& options,
                              std::string_view request_key = {}) override;
  Outcome<Explanation> ExplainFile(std::string_view name, std::string_view path) override;
  Outcome<VolumeInfo> Hold(std::string_view name, std::string_view tag,
                           std::string_view request_key = {}) override;
  Outcome<VolumeInfo> Release(std::string_view name, std::string_view tag,
                              std::string_view request_key = {}) override;
  Outcome<void> Destroy(const std::vector<std::string>& names, bool recursive = false,
                        std::string_view request_key = {}) override;
  Outcome<VolumeInfo> Rename(std::string_view from, std::string_view to,
                             std::string_view request_key = {}) override;
  std::vector<VolumeInfo> List() override;
  Outcome<VolumeInfo> Show(std::string_view name) override;
  Outcome<VolumeInfo> Show(VolumeId id) override;
  Outcome<ExclusiveUsage> Exclusive(std::string_view name) override;
  Outcome<ExclusiveUsage> WouldFree(const std::vector<std::string>& names, bool recursive) override;
  Outcome<DiffResult> Diff(std::string_view a, std::string_view b,
                           const DiffOptions& options) override;
  StoreStats Stats() override;
  Outcome<cow::CheckReport> Check(bool data) override;
  Outcome<std::shared_ptr<FileSystem>> Attach(std::string_view name, bool importing) override;
  Outcome<std::shared_ptr<FileSystem>> Attach(VolumeId id) override;
  Outcome<std::shared_ptr<FileSystem>> Resume(VolumeId id) override;
  void KeepOrphans() override;
  Outcome<std::shared_ptr<FileSystem>> AttachNetwork(VolumeId id) override;
  uint64_t Mark() override;
  Status WaitDurable(uint64_t mark) override;
  uint64_t WriteVerifier() const override { return write_verifier_; }
  Outcome<std::string> Setting(std::string_view key) override;
  Outcome<void> SetSetting(std::string_view key, std::string_view value) override;
  Outcome<std::vector<std::pair<std::string, std::string>>> Settings(
      std::string_view prefix) override;
  Status Flush() override;
  Status Checkpoint() override;
  Status Drain() override;

 private:
  std::shared_ptr<VolumeCore> CoreOf(const std::shared_ptr<clone::Volume>& volume);
  // What the operations of a volume work on; of a composed one, with all its parts.
  std::shared_ptr<cow::VolumeMap> MapOf(const std::shared_ptr<clone::Volume>& volume);
  // The same for those who work with it: volatile directories are emptied.
  std::shared_ptr<cow::VolumeMap> OpenMapOf(const std::shared_ptr<clone::Volume>& volume);
  Outcome<bool> FollowRules(const clone::CatalogEntry& entry, const ComposeOptions& options);
  void EmptyVolatile(cow::VolumeMap& map, VolumeId id, bool all);
  Outcome<void> FindOrigins(clone::CatalogEntry entry, InodeId ino, std::string_view path,
                            std::vector<FileOrigin>& origins);
  void StartCounting();
  void CountComposed(VolumeId id);
  Outcome<Found> FindInPart(VolumeId id, std::string_view path);
  Outcome<clone::CatalogEntry> FindReady(VolumeId id);  // kBusy: an import
  std::shared_ptr<VolumeCore> OpenCoreOf(VolumeId id);  // null: nobody works with it
  std::vector<std::pair<VolumeId, std::shared_ptr<VolumeCore>>> Cores();
  VolumeInfo InfoOf(const clone::CatalogEntry& entry);
  // With all of a composed volume's parts, each once: it keeps them.
  uint64_t ReferencedBytes(const clone::VolumeRow& row);
  std::vector<VolumeInfo> InfosOf(const std::vector<clone::CatalogEntry>& entries);
  Outcome<ExclusiveUsage> CountExclusive(std::vector<clone::CatalogEntry> entries);
  void DropCores(const std::vector<VolumeId>& ids);
  // Those are told who see a snapshot's volume with its snapshots in it.
  void TellSnapshot(VolumeId volume, std::string_view name);
  std::string FlushClients(VolumeId id, uint32_t timeout_ms);  // why not; empty: all have
  Outcome<std::vector<clone::CatalogEntry>> CloneUnborn(const clone::CatalogEntry& source,
                                                        std::string_view name, size_t count,
                                                        const cow::QuotaChange& quota,
                                                        bool flushed);
  Outcome<void> Prepare(const clone::CatalogEntry& unborn, std::string_view target,
                        const Preparation& preparation);
  Outcome<void> InspectPin(const clone::CatalogEntry& pin, const Inspection& inspection);
  Outcome<std::vector<VolumeInfo>> Reveal(HiddenVolumes& unborn,
                                          const std::vector<std::string>& names,
                                          const clone::Request& request);
  // host_merge.cc
  struct MergeJob;
  Outcome<MergeReport> RunMerge(const MergeJob& job);
  Outcome<MergeReport> TryMerge(const MergeJob& job, bool frozen);
  Outcome<std::string> LabelFor(const MergeJob& job);
  Outcome<std::string> ChooseBase(const MergeJob& job, const clone::CatalogEntry& mine,
                                  const clone::CatalogEntry& theirs);
  Outcome<std::vector<clone::CatalogEntry>> PinSides(const MergeJob& job, bool frozen,
                                                     VolumeId target);
  Outcome<clone::CatalogEntry> PinBase(const MergeJob& job, const HiddenVolumes& pins,
                                       std::string& name);
  Outcome<void> MakeBranch(const MergeJob& job, const HiddenVolumes& pins, MergeReport& report);
  // Stops the data of a volume, for a cut.
  Outcome<DataGate> GateOf(VolumeId id);
  void DestroyExpired();
  void RunBackground();
  void Tend(VolumeId id, const std::shared_ptr<VolumeCore>& core);
  void ReapLeftovers();
  void EndLockGrace();

  Outcome<void> LoadWriteVerifier();
  void NoteAllSaved();

  const HostOptions options_;
  const std::chrono::steady_clock::time_point leftovers_from_;  // see CoreOptions
  uint64_t write_verifier_ = 0;
  std::unique_ptr<clone::Catalog> catalog_;
  DirtyBudget budget_;
  Flusher flusher_;         // outlives the cores
  LockMemory lock_memory_;  // outlives the cores

  std::mutex cores_mutex_;
  // A core lives while somebody is attached or something waits to be written or freed.
  std::map<VolumeId, std::shared_ptr<VolumeCore>> cores_;  // guarded by cores_mutex_

  std::mutex background_mutex_;
  std::condition_variable background_wake_;
  bool stopping_ = false;  // guarded by background_mutex_
  std::thread background_;

  // Held while something is cut off that totals count, and while what is to be counted is pinned.
  std::mutex totals_mutex_;
  std::atomic<bool> stop_counting_{false};
  std::future<void> counting_;  // started by background_
  // Where counting failed, and when. Background_'s while nothing is counted, else counting_'s.
  std::map<VolumeId, std::chrono::steady_clock::time_point> count_failed_;
};

}  // namespace prism::fs
