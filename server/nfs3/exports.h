// The volumes as exports: /NAME for each, with the rules of who may use it.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"
#include "server/nfs3/access.h"

namespace prism::nfs3 {

// THREADS: any. The Host outlives it.
class Exports {
 public:
  explicit Exports(fs::Host& host) : host_(host) {}

  struct Export {
    std::shared_ptr<fs::FileSystem> fs;
    AccessRules rules;
    VolumeId snapshot_of = 0;
  };
  // kStale: there is no such volume (any more).
  Result<std::shared_ptr<const Export>> Find(VolumeId volume);

  // Those of its volume, where a snapshot has none.
  Outcome<AccessRules> StoredRules(const fs::VolumeInfo& volume);
  // The rules of a volume, as stored; and new ones, from the next request on. Empty: the default.
  Outcome<std::string> RulesOf(std::string_view name);
  Outcome<void> SetRules(std::string_view name, std::string_view rules);

  fs::Host& host() { return host_; }

 private:
  // Attached volumes that are kept; those that no request has used for longest go first.
  static constexpr size_t kKept = 1024;
  struct Slot {
    std::shared_ptr<const Export> found;
    std::list<VolumeId>::iterator used;
  };

  void Drop(VolumeId volume);  // REQUIRES: mutex_

  fs::Host& host_;
  std::mutex mutex_;
  std::unordered_map<VolumeId, Slot> slots_;  // guarded by mutex_
  std::list<VolumeId> used_;                  // guarded by mutex_: the latest last
  uint64_t rules_changes_ = 0;                // guarded by mutex_
};

}  // namespace prism::nfs3
