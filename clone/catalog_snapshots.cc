// Snapshots: making them, going back to one, and what keeps them.
#include <algorithm>
#include <set>

#include "clone/catalog.h"

namespace prism::clone {

using cow::RecordType;

Outcome<SnapshotRecord> Catalog::PlanSnapshot(const std::vector<std::string>& names,
                                              VolumeSet& sources) {
  SnapshotRecord record;
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    PRISM_ASSIGN(const SnapshotName parsed, ParseSnapshotName(name));
    PRISM_ASSIGN(std::shared_ptr<Volume> source, RequireLocked(parsed.volume));
    if (source->row_.importing)
      return Explain(Err::kBusy, "volume \"{}\" is still being imported", parsed.volume);
    if (FindLocked(name) || !seen.insert(name).second)
      return Explain(Err::kExists, "snapshot \"{}\" {}; none was made", name,
                     FindLocked(name) ? "exists already" : "is named twice");
    record.targets.push_back(
        {source->id(), next_id_ + record.targets.size(), std::string(parsed.label)});
    sources[source->id()] = source;
  }
  return record;
}

Outcome<std::vector<CatalogEntry>> Catalog::Snapshot(const std::vector<std::string>& names,
                                                     int64_t expires_sec, const Request& request) {
  if (names.empty()) return Explain(Err::kInvalid, "name at least one snapshot to make");
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::vector<CatalogEntry> entries;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(*done);
    VolumeSet sources;
    PRISM_ASSIGN(SnapshotRecord record, PlanSnapshot(names, sources));
    record.created_sec = NowSec();
    record.expires_sec = expires_sec;
    {
      std::vector<std::unique_lock<FairSharedMutex>> locks;
      for (const auto& [id, volume] : sources) locks.emplace_back(volume->mutex_);
      std::shared_lock gate(engine_->gate());
      std::vector<VolumeRow> answer = RowsOf(record);
      for (size_t i = 0; i < names.size(); ++i) answer[i].name = names[i];
      lsn = Append(request, record.Encode(), std::move(answer));
      ApplySnapshot(record);
    }
    for (const auto& target : record.targets) entries.push_back(EntryOf(by_id_.at(target.id)));
  }
  PRISM_TRY(WaitDurable(lsn, "the snapshot"));
  return entries;
}

std::vector<VolumeRow> Catalog::RowsOf(const SnapshotRecord& record) {
  std::vector<VolumeRow> rows;
  for (const SnapshotRecord::Target& target : record.targets) {
    const Volume& source = *by_id_.at(target.source);
    VolumeRow& row = rows.emplace_back(source.DescendantRow(FullName(source)));
    row.id = target.id;
    row.name = target.label;
    row.snapshot_of = target.source;
    // Its volatile directories are made anew in it, while the volume goes on.
    if (row.composition.composed()) row.next_ino = std::max(row.next_ino, FirstInode(row.id));
    row.created_sec = record.created_sec;
    row.expires_sec = record.expires_sec;
  }
  return rows;
}

void Catalog::ApplySnapshot(const SnapshotRecord& record) {
  for (VolumeRow& row : RowsOf(record)) {
    engine_->references().Add(row.root);
    ++by_id_.at(row.snapshot_of)->tree_.generation;  // what it owned alone is shared now
    Insert(std::make_shared<Volume>(*engine_, *this, std::move(row)));
  }
}

Outcome<CatalogEntry> Catalog::Rollback(std::string_view name, const Request& request) {
  PRISM_TRY(ParseSnapshotName(name));
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::shared_ptr<Volume> volume;
  CatalogEntry entry;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(done->front());
    PRISM_ASSIGN(std::shared_ptr<Volume> snapshot, RequireLocked(name));
    volume = by_id_.at(snapshot->row_.snapshot_of);
    {
      std::unique_lock volume_lock(volume->mutex_);
      if (volume->read_only())
        return Explain(Err::kReadOnly, "\"{}\" is sealed: clone \"{}\" instead", FullName(*volume),
                       name);
      std::unique_lock snapshot_lock(snapshot->mutex_);  // its id is the greater one
      std::shared_lock gate(engine_->gate());
      VolumeRow answer = volume->row_;
      answer.inodes = snapshot->row_.inodes;
      answer.bytes = snapshot->row_.bytes;
      lsn = Append(request, RollbackRecord{volume->id(), snapshot->id()}.Encode(), {answer});
      ApplyRollback(*volume, *snapshot, lsn);
    }
    entry = EntryOf(volume);
  }
  PRISM_TRY(WaitDurable(lsn, "the rollback"));
  return entry;
}

void Catalog::ApplyRollback(Volume& volume, const Volume& snapshot, Lsn lsn) {
  VolumeRow& row = volume.row_;
  engine_->references().Add(snapshot.row_.root);
  engine_->AddDead(row.root);
  row.root = volume.tree_.node = snapshot.row_.root;
  row.usage = volume.tree_.usage = snapshot.row_.usage;
  row.own_from = volume.tree_.own_from = snapshot.row_.own_from;
  row.birth_node_bytes = snapshot.row_.birth_node_bytes;
  row.inodes = snapshot.row_.inodes;
  row.bytes = snapshot.row_.bytes;
  row.next_ino = std::max(row.next_ino, snapshot.row_.next_ino);
  row.past = snapshot.row_.past;
  row.line = LineOfRecord(lsn);
  row.changed = lsn;
  row.composition.uncounted = snapshot.row_.composition.uncounted;
  ++volume.tree_.generation;  // it owns nothing of that tree alone
  volume.replaced_.fetch_add(1, std::memory_order_acq_rel);
  volume.last_lsn_.store(lsn, std::memory_order_release);
  NoteUncounted(volume);
  MarkChanged(volume);
}

Outcome<CatalogEntry> Catalog::Hold(std::string_view name, std::string_view tag,
                                    const Request& request) {
  return SetHold(name, tag, true, request);
}

Outcome<CatalogEntry> Catalog::Release(std::string_view name, std::string_view tag,
                                       const Request& request) {
  return SetHold(name, tag, false, request);
}

Outcome<CatalogEntry> Catalog::SetHold(std::string_view name, std::string_view tag, bool held,
                                       const Request& request) {
  PRISM_TRY(CheckVolumeName(tag));  // tags are made as names are
  CatalogEntry entry;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(done->front());
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
    KeepRecord record{volume->id(), volume->row_.expires_sec, volume->row_.holds};
    auto found = std::find(record.holds.begin(), record.holds.end(), tag);
    const bool as_it_is = (found != record.holds.end()) == held;
    if (as_it_is && request.key.empty()) return EntryOf(volume);
    if (!as_it_is && !held) record.holds.erase(found);
    if (!as_it_is && held) {
      if (record.holds.size() >= kHoldsMax)
        return Explain(Err::kNoSpace, "\"{}\" has {} holds already", name, kHoldsMax);
      record.holds.emplace_back(tag);
    }
    {
      std::unique_lock volume_lock(volume->mutex_);
      std::shared_lock gate(engine_->gate());
      VolumeRow answer = volume->row_;
      answer.name = name;
      answer.holds = record.holds;
      lsn = Append(request, record.Encode(), {std::move(answer)});
      ApplyKeep(*volume, record);
    }
    entry = EntryOf(volume);
  }
  PRISM_TRY(WaitDurable(lsn, "the hold"));
  return entry;
}

void Catalog::ApplyKeep(Volume& volume, const KeepRecord& record) {
  expiring_.erase({volume.row_.expires_sec, volume.id()});
  volume.row_.expires_sec = record.expires_sec;
  volume.row_.holds = record.holds;
  if (record.expires_sec != 0) expiring_.emplace(record.expires_sec, volume.id());
  MarkChanged(volume);
}

std::vector<std::string> Catalog::Expired(int64_t now_sec, size_t max) {
  std::vector<std::string> names;
  std::lock_guard lock(mutex_);
  for (const auto& [expires_sec, id] : expiring_) {
    if (expires_sec > now_sec || names.size() == max) break;
    const Volume& volume = *by_id_.at(id);
    if (volume.row_.holds.empty()) names.push_back(FullName(volume));
  }
  return names;
}

Status Catalog::ReplaySnapshots(RecordType type, std::string_view payload, Lsn lsn) {
  if (type == RecordType::kSnapshot) {
    PRISM_ASSIGN(SnapshotRecord record, SnapshotRecord::Decode(payload));
    for (const auto& target : record.targets) PRISM_TRY(ForReplay(target.source));
    ApplySnapshot(record);
  } else if (type == RecordType::kRollback) {
    PRISM_ASSIGN(RollbackRecord record, RollbackRecord::Decode(payload));
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
    PRISM_ASSIGN(std::shared_ptr<Volume> snapshot, ForReplay(record.snapshot));
    ApplyRollback(*volume, *snapshot, lsn);
  } else if (type == RecordType::kReplace) {
    PRISM_ASSIGN(ReplaceRecord record, ReplaceRecord::Decode(payload));
    PRISM_TRY(ForReplay(record.volume));
    PRISM_TRY(ForReplay(record.source));
    ApplyReplace(record, lsn);
  } else {
    PRISM_ASSIGN(KeepRecord record, KeepRecord::Decode(payload));
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
    ApplyKeep(*volume, record);
  }
  return {};
}

}  // namespace prism::clone
