#include "clone/catalog.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <shared_mutex>

#include "fs/base/check.h"

namespace prism::clone {

std::pair<uint64_t, uint64_t> NewHashKey() {
  std::random_device device;
  auto word = [&] { return uint64_t{device()} << 32 | device(); };
  const uint64_t first = word();
  return {first, word()};
}

Outcome<void> CheckVolumeName(std::string_view name) {
  bool good = !name.empty() && name.size() <= kVolumeNameMax && name[0] != '.' && name[0] != '-';
  for (char c : name)
    good =
        good && (std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-');
  if (good) return {};
  return Explain(Err::kInvalid,
                 "\"{}\" is no volume name: use 1 to {} of A-Z a-z 0-9 . _ -, not beginning with "
                 ". or -",
                 name.substr(0, kVolumeNameMax), kVolumeNameMax);
}

int64_t NowSec() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Catalog::~Catalog() { engine_.reset(); }

Outcome<SnapshotName> ParseSnapshotName(std::string_view name) {
  const size_t at = name.find('@');
  if (at == name.npos)
    return Explain(Err::kInvalid, "\"{}\" names no snapshot: those are NAME@LABEL",
                   name.substr(0, kVolumeNameMax));
  SnapshotName parsed{name.substr(0, at), name.substr(at + 1)};
  PRISM_TRY(CheckVolumeName(parsed.volume));
  PRISM_TRY(CheckVolumeName(parsed.label));
  if (name.size() > kVolumeNameMax)
    return Explain(Err::kInvalid, "\"{}\" is too long: a snapshot's whole name has up to {} bytes",
                   name.substr(0, kVolumeNameMax), kVolumeNameMax);
  return parsed;
}

std::shared_ptr<Volume> Catalog::FindLocked(std::string_view name) {
  if (IsHidden(name)) return nullptr;
  const size_t at = name.find('@');
  auto volume = by_name_.find(name.substr(0, at));
  if (volume == by_name_.end()) return nullptr;
  if (at == name.npos) return volume->second;
  auto snapshot = volume->second->snapshots_.find(name.substr(at + 1));
  return snapshot == volume->second->snapshots_.end() ? nullptr : snapshot->second;
}

std::string Catalog::FullName(const Volume& volume) const {
  if (!volume.is_snapshot()) return volume.row_.name;
  return by_id_.at(volume.row_.snapshot_of)->row_.name + "@" + volume.row_.name;
}

Outcome<std::shared_ptr<Volume>> Catalog::RequireLocked(std::string_view name) {
  if (std::shared_ptr<Volume> volume = FindLocked(name)) return volume;
  return Explain(Err::kNoEntry, "there is no {} \"{}\": `prism list` shows those there are",
                 name.find('@') == name.npos ? "volume" : "snapshot", name);
}

CatalogEntry Catalog::EntryOf(const std::shared_ptr<Volume>& volume) {
  std::shared_lock lock(volume->mutex_);
  CatalogEntry entry{volume, volume->row_};
  entry.row.name = FullName(*volume);
  return entry;
}

Outcome<void> Catalog::WaitDurable(Lsn lsn, std::string_view what) {
  if (engine_->journal().WaitDurable(lsn)) return {};
  return Explain(Err::kIo, "{} could not be written to the journal: see the server's log", what);
}

Outcome<CatalogEntry> Catalog::Create(std::string_view name, bool importing) {
  PRISM_TRY(CheckVolumeName(name));
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::shared_ptr<Volume> volume;
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    if (FindLocked(name)) return Explain(Err::kExists, "volume \"{}\" exists already", name);
    CreateRecord record = PlanCreate(std::string(name), importing);
    std::shared_lock gate(engine_->gate());
    lsn = engine_->journal().Append(record.Encode());
    volume = ApplyCreate(std::move(record.row));
  }
  PRISM_TRY(WaitDurable(lsn, "the new volume"));
  return Find(volume->id());
}

CreateRecord Catalog::PlanCreate(std::string name, bool importing) {
  CreateRecord record;
  record.row.id = next_id_;
  record.row.name = std::move(name);
  record.row.importing = importing;
  record.row.created_sec = NowSec();
  record.row.hash_key = NewHashKey();
  record.row.line = next_id_;
  return record;
}

std::shared_ptr<Volume> Catalog::ApplyCreate(VolumeRow row) {
  auto volume = std::make_shared<Volume>(*engine_, *this, std::move(row));
  VolumeRow& made = volume->row_;
  made.root = engine_->forest().CreateEmpty(volume->tree_);
  made.usage = volume->tree_.usage;
  made.own_from = volume->tree_.own_from = engine_->chunks().next_id();
  made.birth_node_bytes = made.usage.node_bytes;
  Insert(volume);
  return volume;
}

void Catalog::Insert(const std::shared_ptr<Volume>& volume) {
  Adopt(volume);
  MarkChanged(*volume);
}

void Catalog::Adopt(const std::shared_ptr<Volume>& volume) {
  if (by_id_.insert_or_assign(volume->id(), volume).second)
    for (const Graft& graft : volume->row_.composition.grafts) ++part_users_[graft.part];
  NoteUncounted(*volume);
  next_id_ = std::max(next_id_, volume->id() + 1);
  const VolumeRow& row = volume->row_;
  if (row.expires_sec != 0) expiring_.emplace(row.expires_sec, row.id);
  auto& names = volume->is_snapshot() ? by_id_.at(row.snapshot_of)->snapshots_ : by_name_;
  names[row.name] = volume;
}

void Catalog::EraseName(const Volume& volume) {
  if (!volume.is_snapshot()) {
    by_name_.erase(volume.row_.name);
  } else if (auto owner = by_id_.find(volume.row_.snapshot_of); owner != by_id_.end()) {
    owner->second->snapshots_.erase(volume.row_.name);
  }
}

Outcome<void> Catalog::Publish(std::string_view name) {
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
    std::unique_lock volume_lock(volume->mutex_);
    std::shared_lock gate(engine_->gate());
    lsn =
        engine_->journal().Append(RenameRecord{volume->id(), {}}.Encode(cow::RecordType::kPublish));
    volume->row_.importing = false;
    MarkChanged(*volume);
  }
  return WaitDurable(lsn, "the finished volume");
}

Outcome<std::vector<CatalogEntry>> Catalog::Clone(std::string_view source_name,
                                                  const std::vector<std::string>& targets,
                                                  const Request& request,
                                                  const cow::QuotaChange& quota, bool flushed) {
  if (targets.empty()) return Explain(Err::kInvalid, "name at least one clone to make");
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::vector<CatalogEntry> entries;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(*done);
    PRISM_ASSIGN(std::shared_ptr<Volume> source, RequireLocked(source_name));
    if (source->row_.importing)
      return Explain(Err::kBusy, "volume \"{}\" is still being imported", source_name);
    CloneRecord record;
    record.source = source->id();
    record.flushed = flushed;
    record.created_sec = NowSec();
    record.quota = quota.Of(source->row_.quota);
    PRISM_TRY(CheckNewNames(targets));
    for (const std::string& name : targets)
      record.targets.emplace_back(next_id_ + record.targets.size(), name);
    std::unique_lock source_lock(source->mutex_);
    std::shared_lock gate(engine_->gate());
    lsn = Append(request, record.Encode(), RowsOf(*source, record));
    ApplyClone(*source, record);
    for (const auto& [id, name] : record.targets) entries.push_back({by_id_[id], by_id_[id]->row_});
  }
  PRISM_TRY(WaitDurable(lsn, "the clone"));
  return entries;
}

Outcome<void> Catalog::CheckNewNames(const std::vector<std::string>& names) {
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    PRISM_TRY(CheckVolumeName(name));
    if (FindLocked(name) || !seen.insert(name).second)
      return Explain(Err::kExists, "volume \"{}\" {}; nothing was made", name,
                     FindLocked(name) ? "exists already" : "is named twice");
  }
  return {};
}

std::vector<VolumeRow> Catalog::RowsOf(const Volume& source, const CloneRecord& record) {
  std::vector<VolumeRow> rows;
  for (const auto& [id, name] : record.targets) {
    VolumeRow& row = rows.emplace_back(source.DescendantRow(FullName(source)));
    row.id = id;
    row.name = name;
    row.created_sec = record.created_sec;
    row.flushed = record.flushed;
    row.importing = IsTemporary(name);
    row.quota = record.quota;
    row.own_from = engine_->chunks().next_id();
    row.usage.own_chunk_bytes = 0;
    row.birth_node_bytes = row.usage.node_bytes;
    row.line = id;
    row.next_ino = std::max(row.next_ino, FirstInode(id));
  }
  return rows;
}

void Catalog::ApplyClone(Volume& source, const CloneRecord& record) {
  for (VolumeRow& row : RowsOf(source, record)) {
    engine_->references().Add(row.root);
    Insert(std::make_shared<Volume>(*engine_, *this, std::move(row)));
  }
  ++source.tree_.generation;  // what it owned alone is shared now
}

Outcome<Catalog::VolumeSet> Catalog::ChooseToDestroy(const std::vector<std::string>& names,
                                                     bool recursive) {
  VolumeSet volumes;
  for (const std::string& name : names) {
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
    if (recursive)
      for (const auto& [label, snapshot] : volume->snapshots_) volumes[snapshot->id()] = snapshot;
    volumes[volume->id()] = volume;
  }
  for (const auto& [id, volume] : volumes) {
    if (!volume->row_.holds.empty())
      return Explain(Err::kBusy, "\"{}\" is held by \"{}\": `prism release` it first",
                     FullName(*volume), volume->row_.holds.front());
    size_t kept = 0;
    for (const auto& [label, snapshot] : volume->snapshots_)
      kept += !volumes.contains(snapshot->id());
    if (kept > 0)
      return Explain(Err::kBusy, "volume \"{}\" has {} snapshot(s): --recursive destroys them too",
                     volume->row_.name, kept);
  }
  return volumes;
}

Outcome<std::vector<CatalogEntry>> Catalog::WouldDestroy(const std::vector<std::string>& names,
                                                         bool recursive) {
  std::lock_guard lock(mutex_);
  PRISM_ASSIGN(VolumeSet volumes, ChooseToDestroy(names, recursive));
  std::vector<CatalogEntry> entries;
  for (const auto& [id, volume] : volumes) entries.push_back(EntryOf(volume));
  return entries;
}

Result<cow::Forest::Exclusive> Catalog::CountExclusive(std::vector<CatalogEntry>& entries) {
  VolumeSet volumes;
  for (const CatalogEntry& entry : entries) volumes[entry.row.id] = entry.volume;
  {
    std::lock_guard lock(mutex_);
    AddParts(volumes);
  }
  std::vector<std::shared_lock<FairSharedMutex>> locks;
  std::vector<cow::NodeId> roots;
  for (const auto& [id, volume] : volumes) {
    locks.emplace_back(volume->mutex_);
    if (volume->destroyed()) return Fail(Err::kStale);
    roots.push_back(volume->tree_.node);
  }
  for (CatalogEntry& entry : entries) {
    std::string name = std::move(entry.row.name);
    entry.row = entry.volume->row_;
    entry.row.name = std::move(name);
  }
  return engine_->forest().CountExclusive(roots);
}

Outcome<void> Catalog::Destroy(const std::vector<std::string>& names, bool recursive,
                               const Request& request) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(const Done done, FindDoneLocked(request, lock));
    if (done) return {};
    PRISM_ASSIGN(VolumeSet volumes, ChooseToDestroy(names, recursive));
    if (volumes.empty()) return {};
    lsn = DestroyLocked(std::move(volumes), request);
  }
  return WaitDurable(lsn, "the destruction");
}

Lsn Catalog::DestroyLocked(VolumeSet volumes, const Request& request) {
  AddParts(volumes);
  DestroyRecord record;
  std::vector<std::unique_lock<FairSharedMutex>> locks;
  for (const auto& [id, volume] : volumes) {
    locks.emplace_back(volume->mutex_);
    record.volumes.push_back(id);
  }
  std::shared_lock gate(engine_->gate());
  const Lsn lsn = Append(request, record.Encode(), {});
  for (const auto& [id, volume] : volumes) ApplyDestroy(*volume);
  return lsn;
}

void Catalog::ApplyDestroy(Volume& volume) {
  volume.destroyed_ = true;
  engine_->AddDead(volume.row_.root);
  EraseName(volume);
  expiring_.erase({volume.row_.expires_sec, volume.id()});
  for (const Graft& graft : volume.row_.composition.grafts)
    if (auto users = part_users_.find(graft.part); --users->second == 0) part_users_.erase(users);
  uncounted_.erase(volume.id());
  std::lock_guard lock(changed_mutex_);
  destroyed_.push_back(volume.id());
  by_id_.erase(volume.id());
}

// A snapshot stays with its volume, and no whole name becomes too long.
Outcome<void> Catalog::CheckRename(const Volume& volume, std::string_view to) {
  if (volume.is_snapshot()) {
    PRISM_ASSIGN(const SnapshotName name, ParseSnapshotName(to));
    if (name.volume != by_id_.at(volume.row_.snapshot_of)->row_.name)
      return Explain(Err::kInvalid, "a snapshot cannot become another volume's: clone it instead");
  } else {
    PRISM_TRY(CheckVolumeName(to));
    for (const auto& [label, snapshot] : volume.snapshots_)
      if (to.size() + 1 + label.size() > kVolumeNameMax)
        return Explain(Err::kInvalid, "\"{}@{}\" would be too long", to, label);
  }
  return {};
}

Outcome<CatalogEntry> Catalog::Rename(std::string_view from, std::string_view to,
                                      const Request& request) {
  CatalogEntry entry;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(done->front());
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(from));
    PRISM_TRY(CheckRename(*volume, to));
    if (from == to && request.key.empty()) return EntryOf(volume);
    if (from != to && FindLocked(to))
      return Explain(Err::kExists, "volume \"{}\" exists already", to);
    {
      std::unique_lock volume_lock(volume->mutex_);
      std::shared_lock gate(engine_->gate());
      RenameRecord record{volume->id(), std::string(to.substr(to.find('@') + 1))};
      VolumeRow answer = volume->row_;
      answer.name = to;
      lsn = Append(request, record.Encode(cow::RecordType::kRename), {std::move(answer)});
      ApplyRename(volume, record.name);
    }
    entry = EntryOf(volume);
  }
  PRISM_TRY(WaitDurable(lsn, "the new name"));
  return entry;
}

void Catalog::ApplyRename(const std::shared_ptr<Volume>& volume, const std::string& name) {
  EraseName(*volume);
  volume->row_.name = name;
  Insert(volume);
}

Outcome<std::optional<std::vector<CatalogEntry>>> Catalog::FindDone(const Request& request) {
  std::unique_lock lock(mutex_);
  return FindDoneLocked(request, lock);
}

Outcome<Catalog::Done> Catalog::FindDoneLocked(const Request& request,
                                               std::unique_lock<std::mutex>& lock) {
  const RequestTable::Done* done = request.key.empty() ? nullptr : requests_.Find(request.key);
  if (done == nullptr) return Done();
  if (done->checksum != request.checksum)
    return Explain(Err::kInvalid, "the request key \"{}\" was used for another request",
                   request.key);
  std::vector<CatalogEntry> entries;
  for (const VolumeRow& row : done->answer) entries.push_back({nullptr, row});
  const Lsn lsn = done->lsn;
  lock.unlock();
  PRISM_TRY(WaitDurable(lsn, "what was asked before"));
  return Done(std::move(entries));
}

Lsn Catalog::Append(const Request& request, std::string record, std::vector<VolumeRow> answer) {
  if (request.key.empty()) return engine_->journal().Append(record);
  RequestRecord named{request.key, request.checksum, std::move(answer), std::move(record)};
  const Lsn lsn = engine_->journal().Append(named.Encode());
  requests_.Add(named, lsn);
  return lsn;
}

Outcome<CatalogEntry> Catalog::Find(std::string_view name) {
  std::lock_guard lock(mutex_);
  PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
  return EntryOf(volume);
}

Outcome<CatalogEntry> Catalog::Find(VolumeId id) {
  std::lock_guard lock(mutex_);
  auto found = by_id_.find(id);
  if (found == by_id_.end() || IsHidden(found->second->row_.name))
    return Explain(Err::kNoEntry, "there is no volume {}", id);
  return EntryOf(found->second);
}

std::vector<CatalogEntry> Catalog::List() {
  std::vector<CatalogEntry> entries;
  std::lock_guard lock(mutex_);
  entries.reserve(by_id_.size());
  for (const auto& [name, volume] : by_name_) {
    if (IsHidden(name)) continue;
    entries.push_back(EntryOf(volume));
    for (const auto& [label, snapshot] : volume->snapshots_) entries.push_back(EntryOf(snapshot));
  }
  return entries;
}

}  // namespace prism::clone
