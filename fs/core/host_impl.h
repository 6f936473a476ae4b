// The Host over the real engine.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "clone/catalog.h"
#include "fs/core/dirty_budget.h"
#include "fs/core/flusher.h"
#include "fs/core/host.h"
#include "fs/core/volume_core.h"

namespace prism::fs {

class HostImpl : public Host {
 public:
  HostImpl(const HostOptions& options, std::unique_ptr<clone::Catalog> catalog);
  ~HostImpl() override;
  Outcome<void> Begin();  // once, before anything else

  Outcome<VolumeInfo> Create(std::string_view name, bool importing) override;
  Outcome<void> Publish(std::string_view name) override;
  Outcome<std::vector<VolumeInfo>> Clone(std::string_view source,
                                         const std::vector<std::string>& targets) override;
  Outcome<void> Destroy(const std::vector<std::string>& names) override;
  Outcome<void> Rename(std::string_view from, std::string_view to) override;
  std::vector<VolumeInfo> List() override;
  Outcome<VolumeInfo> Show(std::string_view name) override;
  Outcome<ExclusiveUsage> Exclusive(std::string_view name) override;
  StoreStats Stats() override;
  Outcome<std::shared_ptr<FileSystem>> Attach(std::string_view name, bool importing) override;
  Outcome<std::shared_ptr<FileSystem>> Resume(std::string_view name) override;
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
  std::shared_ptr<VolumeCore> OpenCoreOf(VolumeId id);  // null: nobody works with it
  std::vector<std::pair<VolumeId, std::shared_ptr<VolumeCore>>> Cores();
  VolumeInfo InfoOf(const clone::CatalogEntry& entry);
  void RunBackground();
  void Tend(VolumeId id, const std::shared_ptr<VolumeCore>& core);
  void ReapLeftovers();

  Outcome<void> LoadWriteVerifier();
  void NoteAllSaved();

  const HostOptions options_;
  const std::chrono::steady_clock::time_point leftovers_from_;  // see CoreOptions
  uint64_t write_verifier_ = 0;
  std::unique_ptr<clone::Catalog> catalog_;
  DirtyBudget budget_;
  Flusher flusher_;  // outlives the cores

  std::mutex cores_mutex_;
  // A core lives while somebody is attached or something waits to be written or freed.
  std::map<VolumeId, std::shared_ptr<VolumeCore>> cores_;  // guarded by cores_mutex_

  std::mutex background_mutex_;
  std::condition_variable background_wake_;
  bool stopping_ = false;  // guarded by background_mutex_
  std::thread background_;
};

}  // namespace prism::fs
