// All volumes of a store: create, clone, snapshot, roll back, destroy, rename. A clone is one row
// and one reference more, whatever the source holds; no volume knows of another.
//
// A snapshot is a clone that cannot be changed, and is named by its volume: NAME@LABEL. It belongs
// to that volume: it is renamed with it, and the volume is not destroyed without it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "clone/request_table.h"
#include "clone/volume.h"
#include "fs/base/failure.h"

namespace prism::clone {

struct CatalogEntry {
  std::shared_ptr<Volume> volume;
  VolumeRow row;  // a copy, consistent in itself
};

int64_t NowSec();                            // since 1970, UTC
std::pair<uint64_t, uint64_t> NewHashKey();  // random: VolumeRow::hash_key

inline constexpr size_t kVolumeNameMax = 128;  // bytes, with the label of a snapshot
inline constexpr size_t kHoldsMax = 64;        // of one volume

// Names: 1..128 bytes of [A-Za-z0-9._-], beginning with none of ".-".
Outcome<void> CheckVolumeName(std::string_view name);

// "NAME@LABEL", the name of a snapshot. Labels are made as names are; the whole is at most
// kVolumeNameMax bytes, whatever the volume is renamed to.
struct SnapshotName {
  std::string_view volume;
  std::string_view label;
};
Outcome<SnapshotName> ParseSnapshotName(std::string_view name);

// What a volume is to be composed of: a base, and parts of sources. Where in the volume the parts
// belong is not the catalog's.
struct ComposePlan {
  struct Part {
    std::string source;
    uint32_t rule = 0;  // of `rules`
    bool read_only = false;
  };
  std::string name;
  std::string from;                // empty: it begins empty
  std::vector<std::string> rules;  // at least one; with the one that names the base
  std::vector<Part> parts;         // each gets prefixes of its own, in this order
};

// THREADS: every method from any thread. All changes are durable when they return, and all or
// nothing.
class Catalog : public cow::RootOwner {
 public:
  // Recovers. Volumes whose creation was never published are destroyed.
  static Outcome<std::unique_ptr<Catalog>> Open(const cow::EngineOptions& options);
  // What Open would find, for a check; see cow::Engine. Only what reads may be called.
  static Outcome<std::unique_ptr<Catalog>> OpenToLook(const cow::EngineOptions& options,
                                                      std::unique_ptr<cow::OverlayKv> tables);
  ~Catalog() override;

  Outcome<CatalogEntry> Create(std::string_view name, bool importing);
  Outcome<void> Publish(std::string_view name);

  // Birth in two steps: volumes that nobody finds and that a restart removes, empty or `count`
  // clones by one cut, to be filled or changed at leisure; then their names, all or none, in one
  // record with the request. Only Reveal waits for the medium; Unpin gives them up instead.
  Outcome<CatalogEntry> CreateUnborn();
  Outcome<std::vector<CatalogEntry>> CloneUnborn(std::string_view source, size_t count,
                                                 const cow::QuotaChange& quota = {},
                                                 bool flushed = false);
  Outcome<std::vector<CatalogEntry>> Reveal(const std::vector<CatalogEntry>& unborn,
                                            const std::vector<std::string>& names,
                                            const Request& request = {});

  // The cut: transactions on the source that have committed before are in every target, none that
  // commits later is in any. Writes one row a target, and one reference count.
  // flushed: is noted in the rows.
  Outcome<std::vector<CatalogEntry>> Clone(std::string_view source,
                                           const std::vector<std::string>& targets,
                                           const Request& request = {},
                                           const cow::QuotaChange& quota = {},
                                           bool flushed = false);
  // Of a volume that can be written to.
  Outcome<CatalogEntry> SetQuota(std::string_view name, const cow::QuotaChange& change,
                                 const Request& request = {});
  // `names` are NAME@LABEL: one cut for all of them, one record. expires_sec: 0 for never.
  Outcome<std::vector<CatalogEntry>> Snapshot(const std::vector<std::string>& names,
                                              int64_t expires_sec, const Request& request = {});
  // The snapshot's volume becomes what the snapshot is. Inode numbers that it has used since are
  // not used again. Other snapshots stay, newer ones too.
  Outcome<CatalogEntry> Rollback(std::string_view snapshot, const Request& request = {});
  // What `branch`, a pin that its owner has changed, holds becomes the volume's content, if that is
  // still what was pinned as `as_of` (kAgain: it has changed). The branch is gone then. A snapshot
  // of that label keeps what the volume held. One record. own_bytes: see ReplaceRecord. A volume
  // that is given what was made of another comes from that one from now on.
  Outcome<CatalogEntry> Replace(const CatalogEntry& branch, const CatalogEntry& as_of,
                                VolumeId volume, std::string_view label, int64_t own_bytes,
                                const Request& request);
  // What has holds cannot be destroyed, nor expire. Idempotent.
  Outcome<CatalogEntry> Hold(std::string_view name, std::string_view tag,
                             const Request& request = {});
  Outcome<CatalogEntry> Release(std::string_view name, std::string_view tag,
                                const Request& request = {});
  // The volume cannot be changed any more, if it still is what `pin` is of it; kAgain: it has
  // changed since. What waits of its data has been written, and no more comes meanwhile.
  Outcome<CatalogEntry> Seal(const CatalogEntry& pin, const Request& request = {});
  // Up to `max` of those whose time had come at `now_sec` and that nothing holds.
  std::vector<std::string> Expired(int64_t now_sec, size_t max);

  // recursive: with their snapshots; otherwise a volume that has some is kBusy.
  Outcome<void> Destroy(const std::vector<std::string>& names, bool recursive = false,
                        const Request& request = {});
  // What Destroy would destroy, and its errors.
  Outcome<std::vector<CatalogEntry>> WouldDestroy(const std::vector<std::string>& names,
                                                  bool recursive);
  // What would come back if all these went, each given once. Trees that are still being reclaimed
  // count as if they stayed. The entries' rows are renewed, at that instant. REQUIRES: no
  // checkpoint runs (Engine::WithoutCheckpoint).
  Result<cow::Forest::Exclusive> CountExclusive(std::vector<CatalogEntry>& entries);
  // Of a snapshot, within its volume.
  Outcome<CatalogEntry> Rename(std::string_view from, std::string_view to,
                               const Request& request = {});

  // The answer that a request of this name was given, durable by now; nullopt: it is new. The
  // entries have no volume. kInvalid: the name was given to another request. The verbs above do
  // the same for a request that comes twice at once.
  Outcome<std::optional<std::vector<CatalogEntry>>> FindDone(const Request& request);

  // These volumes as they are at one instant, for as long as somebody looks at them: hidden clones,
  // which Unpin destroys, and a restart too. Costs as much as clones, but waits for no medium. One
  // that is named twice has two pins.
  Outcome<std::vector<CatalogEntry>> Pin(const std::vector<std::string>& names);
  // A snapshot that holds what was at that place, or a volume that still does.
  std::optional<CatalogEntry> FindAt(Place place);
  void Unpin(const std::vector<CatalogEntry>& pins);
  // Forest::DiffTrees of two pins.
  Result<uint64_t> Diff(const CatalogEntry& a, const CatalogEntry& b,
                        cow::Forest::DiffVisitor visitor);

  // One cut for the base and all sources, one record. What it makes is importing: it becomes a
  // volume with FinishCompose, and is gone after a restart before that. partial: see Composition.
  Outcome<CatalogEntry> Compose(const ComposePlan& plan);
  Outcome<CatalogEntry> FinishCompose(VolumeId id, bool partial, const Request& request);
  // Of a composed volume's graft; nullopt: the volume has just gone.
  std::optional<CatalogEntry> Part(VolumeId id);
  // Volumes whose totals are not known, but only bounded from above (clone/composition.h).
  std::vector<VolumeId> Uncounted();
  // The volume's totals were wrong by that, unless they have become so in another way since it had
  // been replaced so often (Volume::times_replaced).
  void SetCounted(VolumeId id, uint64_t replaced, int64_t inodes, int64_t bytes);
  // They say more than there is: something is being cut off. Not durable by itself.
  void SetUncounted(VolumeId id);

  Outcome<CatalogEntry> Find(std::string_view name);
  Outcome<CatalogEntry> Find(VolumeId id);
  std::vector<CatalogEntry> List();  // by name, each followed by its snapshots

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
  Outcome<CatalogEntry> SetHold(std::string_view name, std::string_view tag, bool held,
                                const Request& request);
  // Appends what was done, with its answer if the request has a name. REQUIRES: mutex_, the gate.
  Lsn Append(const Request& request, std::string record, std::vector<VolumeRow> answer);
  void DropHidden();  // all: nobody looks at anything yet
  // REQUIRES: mutex_; gives it up where the request was done.
  using Done = std::optional<std::vector<CatalogEntry>>;
  Outcome<Done> FindDoneLocked(const Request& request, std::unique_lock<std::mutex>& lock);

  // All of these: REQUIRES mutex_.
  CatalogEntry EntryOf(const std::shared_ptr<Volume>& volume);
  std::string FullName(const Volume& volume) const;
  Outcome<void> CheckRename(const Volume& volume, std::string_view to);
  // kExists: one of these is there, or named twice.
  Outcome<void> CheckNewNames(const std::vector<std::string>& names);
  CreateRecord PlanCreate(std::string name, bool importing);
  using VolumeSet = std::map<VolumeId, std::shared_ptr<Volume>>;  // by id: the order of their locks
  Outcome<SnapshotRecord> PlanSnapshot(const std::vector<std::string>& names, VolumeSet& sources);
  Outcome<VolumeSet> ChooseToDestroy(const std::vector<std::string>& names, bool recursive);
  Outcome<ComposeRecord> PlanCompose(const ComposePlan& plan, VolumeSet& sources);
  void AddParts(VolumeSet& volumes);  // those that only these use
  // Of the grafts from this one on, as if all of each part were in the volume.
  void AddPartTotals(VolumeRow& row, size_t from_graft);
  void NoteUncounted(const Volume& volume);  // whether it is
  Lsn DestroyLocked(VolumeSet volumes, const Request& request);

  // REQUIRES: the gate, and the locks of the volumes named (recovery needs neither).
  std::shared_ptr<Volume> ApplyCreate(VolumeRow row);
  std::vector<VolumeRow> RowsOf(const Volume& source, const CloneRecord& record);
  void ApplyClone(Volume& source, const CloneRecord& record);
  std::vector<VolumeRow> RowsOf(const SnapshotRecord& record);  // their names are labels
  void ApplySnapshot(const SnapshotRecord& record);
  void ApplyRollback(Volume& volume, const Volume& snapshot, Lsn lsn);
  void ApplyReplace(const ReplaceRecord& record, Lsn lsn);
  void ApplyKeep(Volume& volume, const KeepRecord& record);
  void ApplyQuota(Volume& volume, const cow::Quota& quota);
  void ApplyDestroy(Volume& volume);
  void ApplyRename(const std::shared_ptr<Volume>& volume, const std::string& name);
  void ApplyReveal(const RevealRecord& record);
  void ApplySeal(Volume& volume);
  Status ReplayBirth(cow::RecordType type, std::string_view payload);
  std::shared_ptr<Volume> ApplyCompose(const ComposeRecord& record);
  void ApplyComposed(Volume& volume, const ComposedRecord& record);
  void ApplyCounted(Volume& volume, const CountedRecord& record);
  void ApplyUncounted(Volume& volume);
  Status ReplayCompose(cow::RecordType type, std::string_view payload);
  Status ReplaySnapshots(cow::RecordType type, std::string_view payload, Lsn lsn);
  Result<std::shared_ptr<Volume>> ForReplay(VolumeId id);
  void Insert(const std::shared_ptr<Volume>& volume);  // new or renamed
  void Adopt(const std::shared_ptr<Volume>& volume);   // the same, its row being as on disk
  void EraseName(const Volume& volume);
  Outcome<void> WaitDurable(Lsn lsn, std::string_view what);

  std::mutex mutex_;  // the catalog's lock; taken before any volume's
  // No snapshots: those are with their volumes. Guarded by mutex_, as all that follows.
  std::map<std::string, std::shared_ptr<Volume>, std::less<>> by_name_;
  std::unordered_map<VolumeId, std::shared_ptr<Volume>> by_id_;
  std::set<std::pair<int64_t, VolumeId>> expiring_;
  std::unordered_map<VolumeId, uint64_t> part_users_;  // grafts that are made of it
  std::set<VolumeId> uncounted_;
  VolumeId next_id_ = 1;
  RequestTable requests_;

  std::mutex changed_mutex_;                      // a leaf
  std::vector<std::shared_ptr<Volume>> changed_;  // guarded by changed_mutex_
  std::vector<VolumeId> destroyed_;               // guarded by changed_mutex_
  std::vector<VolumeRow> frozen_rows_;            // the checkpoint's
  std::vector<VolumeId> frozen_destroyed_;
  VolumeId frozen_next_id_ = 1;

  std::unique_ptr<cow::Engine> engine_;  // last: its end writes a checkpoint of all the above
};

}  // namespace prism::clone
