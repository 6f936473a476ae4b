// All volumes of a store: create, clone, destroy, rename. A clone is one row and one reference
// more, whatever the source holds; no volume knows of another.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "clone/volume.h"
#include "fs/base/failure.h"

namespace prism::clone {

struct CatalogEntry {
  std::shared_ptr<Volume> volume;
  VolumeRow row;  // a copy, consistent in itself
};

// Names: 1..128 bytes of [A-Za-z0-9._-], beginning with none of ".-".
Outcome<void> CheckVolumeName(std::string_view name);

// THREADS: every method from any thread. All changes are durable when they return, and all or
// nothing.
class Catalog : public cow::RootOwner {
 public:
  // Recovers. Volumes whose creation was never published are destroyed.
  static Outcome<std::unique_ptr<Catalog>> Open(const cow::EngineOptions& options);
  ~Catalog() override;

  Outcome<CatalogEntry> Create(std::string_view name, bool importing);
  Outcome<void> Publish(std::string_view name);
  // The cut: transactions on the source that have committed before are in every target, none that
  // commits later is in any. Writes one row a target, and one reference count.
  Outcome<std::vector<CatalogEntry>> Clone(std::string_view source,
                                           const std::vector<std::string>& targets);
  Outcome<void> Destroy(const std::vector<std::string>& names);
  Outcome<void> Rename(std::string_view from, std::string_view to);

  Outcome<CatalogEntry> Find(std::string_view name);
  Outcome<CatalogEntry> Find(VolumeId id);
  std::vector<CatalogEntry> List();  // by name

  cow::Engine& engine() { return *engine_; }
  // Called by volumes, with the gate held: the row goes into the next checkpoint.
  void MarkChanged(Volume& volume);

  // RootOwner.
  void Freeze() override;
  void Write(cow::KvBatch& batch) override;
  Status ReplayRecord(uint8_t type, std::string_view payload, Lsn lsn) override;

 private:
  Catalog() = default;
  Outcome<void> LoadRows();
  std::shared_ptr<Volume> FindLocked(std::string_view name);
  Outcome<std::shared_ptr<Volume>> RequireLocked(std::string_view name);
  CatalogEntry EntryOf(const std::shared_ptr<Volume>& volume);

  // REQUIRES: the gate, and the locks of the volumes named (recovery needs neither).
  std::shared_ptr<Volume> ApplyCreate(VolumeRow row);
  void ApplyClone(Volume& source, const CloneRecord& record);
  void ApplyDestroy(Volume& volume);
  void Insert(const std::shared_ptr<Volume>& volume);
  Outcome<void> WaitDurable(Lsn lsn, std::string_view what);

  std::mutex mutex_;  // the catalog's lock; taken before any volume's
  std::map<std::string, std::shared_ptr<Volume>, std::less<>> by_name_;  // guarded by mutex_
  std::unordered_map<VolumeId, std::shared_ptr<Volume>> by_id_;          // guarded by mutex_
  VolumeId next_id_ = 1;                                                 // guarded by mutex_

  std::mutex changed_mutex_;                      // a leaf
  std::vector<std::shared_ptr<Volume>> changed_;  // guarded by changed_mutex_
  std::vector<VolumeId> destroyed_;               // guarded by changed_mutex_
  std::vector<VolumeRow> frozen_rows_;            // the checkpoint's
  std::vector<VolumeId> frozen_destroyed_;
  VolumeId frozen_next_id_ = 1;

  std::unique_ptr<cow::Engine> engine_;  // last: its end writes a checkpoint of all the above
};

}  // namespace prism::clone
