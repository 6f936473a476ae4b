// The reference model's volumes, behind the same interface as the store's.
#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>

#include "fs/core/host.h"
#include "tests/model/model_file_system.h"

namespace prism::model {

class ModelHost : public fs::Host {
 public:
  explicit ModelHost(std::shared_ptr<World> world = std::make_shared<World>())
      : world_(std::move(world)) {}

  Outcome<fs::VolumeInfo> Create(std::string_view name, bool importing,
                                 std::string_view request_key = {}) override;
  Outcome<void> Publish(std::string_view name) override;
  Outcome<std::vector<fs::VolumeInfo>> Clone(std::string_view source,
                                             const std::vector<std::string>& targets,
                                             std::string_view request_key = {},
                                             const cow::QuotaChange& quota = {}) override;
  Outcome<cow::CheckReport> Check(bool) override {
    return cow::CheckReport();
  }
  Outcome<fs::VolumeInfo> SetQuota(std::string_view, const cow::QuotaChange&,
                                   std::string_view = {}) override {
    return Explain(Err::kNotSupported, "the model keeps no quotas");
  }
  Outcome<std::vector<fs::VolumeInfo>> Snapshot(const std::vector<std::string>& names,
                                                int64_t ttl_sec,
                                                std::string_view request_key = {}) override;
  Outcome<fs::VolumeInfo> Rollback(std::string_view snapshot,
                                   std::string_view request_key = {}) override;
  Outcome<fs::CloneResult> CloneWith(std::string_view source,
                                     const std::vector<std::string>& targets,
                                     const fs::CloneOptions& options) override;
  Outcome<fs::VolumeInfo> Seal(std::string_view name, const fs::Inspection& inspection,
                               std::string_view request_key = {}) override;
  Outcome<fs::VolumeInfo> Inspect(std::string_view name, const fs::Inspection& inspection) override;
  Outcome<fs::VolumeInfo> Compose(std::string_view name, const fs::ComposeOptions& options,
                                  std::string_view request_key = {}) override;
  Outcome<fs::Explanation> ExplainFile(std::string_view, std::string_view) override {
    return prism::Explain(Err::kNotSupported, "the model explains nothing");
  }
  Outcome<fs::VolumeInfo> Hold(std::string_view name, std::string_view tag,
                               std::string_view request_key = {}) override;
  Outcome<fs::VolumeInfo> Release(std::string_view name, std::string_view tag,
                                  std::string_view request_key = {}) override;
  Outcome<void> Destroy(const std::vector<std::string>& names, bool recursive = false,
                        std::string_view request_key = {}) override;
  Outcome<fs::VolumeInfo> Rename(std::string_view from, std::string_view to,
                                 std::string_view request_key = {}) override;
  std::vector<fs::VolumeInfo> List() override;
  Outcome<fs::VolumeInfo> Show(std::string_view name) override;
  Outcome<fs::VolumeInfo> Show(VolumeId id) override;
  Outcome<fs::ExclusiveUsage> Exclusive(std::string_view name) override;
  Outcome<fs::ExclusiveUsage> WouldFree(const std::vector<std::string>& names,
                                        bool recursive) override;
  Outcome<fs::DiffResult> Diff(std::string_view, std::string_view,
                               const fs::DiffOptions&) override {
    return Explain(Err::kNotSupported, "the model compares nothing");
  }
  Outcome<fs::MergeReport> RollbackPath(std::string_view, std::string_view,
                                        std::string_view) override {
    return Explain(Err::kNotSupported, "the model merges nothing");
  }
  Outcome<std::vector<fs::MergeReport>> Rebase(const std::vector<std::string>&, std::string_view,
                                               const fs::MergeOptions&, std::string_view) override {
    return Explain(Err::kNotSupported, "the model merges nothing");
  }
  Outcome<fs::MergeReport> Merge(std::string_view, std::string_view, const fs::MergeOptions&,
                                 std::string_view) override {
    return Explain(Err::kNotSupported, "the model merges nothing");
  }
  fs::StoreStats Stats() override;
  Outcome<std::shared_ptr<fs::FileSystem>> Attach(std::string_view name, bool importing) override;
  Outcome<std::shared_ptr<fs::FileSystem>> Attach(VolumeId id) override;
  // As Attach: the model is never started anew.
  Outcome<std::shared_ptr<fs::FileSystem>> Resume(VolumeId id) override { return Attach(id); }
  void KeepOrphans() override {}
  // As Attach: the model keeps no unlinked files for those who are not there.
  Outcome<std::shared_ptr<fs::FileSystem>> AttachNetwork(VolumeId id) override;
  uint64_t Mark() override { return 0; }
  Status WaitDurable(uint64_t) override { return {}; }
  uint64_t WriteVerifier() const override { return 1; }
  Outcome<std::string> Setting(std::string_view key) override;
  Outcome<void> SetSetting(std::string_view key, std::string_view value) override;
  Outcome<std::vector<std::pair<std::string, std::string>>> Settings(
      std::string_view prefix) override;
  Status Flush() override { return {}; }
  Status Checkpoint() override { return {}; }
  Status Drain() override { return {}; }

 protected:
  // What Attach returns; the random tests' own tests put mistakes here. The world is locked.
  virtual std::shared_ptr<ModelFileSystem> MakeClient(std::shared_ptr<World> world,
                                                      std::shared_ptr<Volume> volume) {
    return std::make_shared<ModelFileSystem>(std::move(world), std::move(volume));
  }

 private:
  Outcome<std::shared_ptr<Volume>> Find(std::string_view name) const;
  Outcome<void> CheckNew(std::string_view name) const;
  Outcome<void> CheckRules(const fs::ComposeOptions& options) const;
  Outcome<void> CountParts(Volume& volume, const fs::ComposeOptions& options) const;
  static fs::VolumeInfo Info(const Volume& volume);
  // A copy, named and attached to by nobody. The world is locked.
  std::shared_ptr<Volume> Copy(const Volume& origin, std::string_view name);
  // What Destroy with these arguments is about. The world is locked.
  Outcome<std::set<std::string>> Choose(const std::vector<std::string>& names,
                                        bool recursive) const;

  std::shared_ptr<World> world_;
  std::mutex settings_mutex_;
  std::map<std::string, std::string, std::less<>> settings_;
};

}  // namespace prism::model
