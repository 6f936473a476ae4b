#include "clone/catalog.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <set>
#include <shared_mutex>

#include "fs/base/check.h"

namespace prism::clone {
namespace {

constexpr size_t kNameMax = 128;

int64_t NowSec() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

uint64_t RandomWord() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

Outcome<void> CheckVolumeName(std::string_view name) {
  bool good = !name.empty() && name.size() <= kNameMax && name[0] != '.' && name[0] != '-';
  for (char c : name)
    good =
        good && (std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-');
  if (good) return {};
  return Explain(Err::kInvalid,
                 "\"{}\" is no volume name: use 1 to {} of A-Z a-z 0-9 . _ -, not beginning with "
                 ". or -",
                 name.substr(0, kNameMax), kNameMax);
}

Catalog::~Catalog() { engine_.reset(); }

std::shared_ptr<Volume> Catalog::FindLocked(std::string_view name) {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

Outcome<std::shared_ptr<Volume>> Catalog::RequireLocked(std::string_view name) {
  if (std::shared_ptr<Volume> volume = FindLocked(name)) return volume;
  return Explain(Err::kNoEntry, "there is no volume \"{}\": `prism list` shows those there are",
                 name);
}

CatalogEntry Catalog::EntryOf(const std::shared_ptr<Volume>& volume) {
  std::shared_lock lock(volume->mutex_);
  return {volume, volume->row_};
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
    CreateRecord record;
    record.row.id = next_id_;
    record.row.name = name;
    record.row.importing = importing;
    record.row.created_sec = NowSec();
    record.row.hash_key = {RandomWord(), RandomWord()};
    std::shared_lock gate(engine_->gate());
    lsn = engine_->journal().Append(record.Encode());
    volume = ApplyCreate(std::move(record.row));
  }
  PRISM_TRY(WaitDurable(lsn, "the new volume"));
  return EntryOf(volume);
}

std::shared_ptr<Volume> Catalog::ApplyCreate(VolumeRow row) {
  auto volume = std::make_shared<Volume>(*engine_, *this, std::move(row));
  volume->row_.root = engine_->forest().CreateEmpty(volume->tree_);
  Insert(volume);
  return volume;
}

void Catalog::Insert(const std::shared_ptr<Volume>& volume) {
  by_name_[volume->row_.name] = volume;
  by_id_[volume->id()] = volume;
  next_id_ = std::max(next_id_, volume->id() + 1);
  MarkChanged(*volume);
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
                                                  const std::vector<std::string>& targets) {
  if (targets.empty()) return Explain(Err::kInvalid, "name at least one clone to make");
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::vector<CatalogEntry> entries;
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    PRISM_ASSIGN(std::shared_ptr<Volume> source, RequireLocked(source_name));
    if (source->row_.importing)
      return Explain(Err::kBusy, "volume \"{}\" is still being imported", source_name);
    CloneRecord record;
    record.source = source->id();
    record.created_sec = NowSec();
    std::set<std::string_view> seen;
    for (const std::string& name : targets) {
      PRISM_TRY(CheckVolumeName(name));
      if (FindLocked(name) || !seen.insert(name).second)
        return Explain(Err::kExists, "volume \"{}\" {}; nothing was cloned", name,
                       FindLocked(name) ? "exists already" : "is named twice");
      record.targets.emplace_back(next_id_ + record.targets.size(), name);
    }
    std::unique_lock source_lock(source->mutex_);
    std::shared_lock gate(engine_->gate());
    lsn = engine_->journal().Append(record.Encode());
    ApplyClone(*source, record);
    for (const auto& [id, name] : record.targets) entries.push_back({by_id_[id], by_id_[id]->row_});
  }
  PRISM_TRY(WaitDurable(lsn, "the clone"));
  return entries;
}

void Catalog::ApplyClone(Volume& source, const CloneRecord& record) {
  for (const auto& [id, name] : record.targets) {
    VolumeRow row = source.row_;
    row.id = id;
    row.name = name;
    row.parent = source.row_.name;
    row.created_sec = record.created_sec;
    engine_->references().Add(row.root);
    Insert(std::make_shared<Volume>(*engine_, *this, std::move(row)));
  }
  ++source.tree_.generation;  // what it owned alone is shared now
}

Outcome<void> Catalog::Destroy(const std::vector<std::string>& names) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    std::map<VolumeId, std::shared_ptr<Volume>> volumes;  // by id: the order of their locks
    DestroyRecord record;
    for (const std::string& name : names) {
      PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
      volumes[volume->id()] = volume;
    }
    if (volumes.empty()) return {};
    std::vector<std::unique_lock<FairSharedMutex>> locks;
    for (const auto& [id, volume] : volumes) {
      locks.emplace_back(volume->mutex_);
      record.volumes.push_back(id);
    }
    std::shared_lock gate(engine_->gate());
    lsn = engine_->journal().Append(record.Encode());
    for (const auto& [id, volume] : volumes) ApplyDestroy(*volume);
  }
  return WaitDurable(lsn, "the destruction");
}

void Catalog::ApplyDestroy(Volume& volume) {
  volume.destroyed_ = true;
  engine_->AddDead(volume.row_.root);
  by_name_.erase(volume.row_.name);
  std::lock_guard lock(changed_mutex_);
  destroyed_.push_back(volume.id());
  by_id_.erase(volume.id());
}

Outcome<void> Catalog::Rename(std::string_view from, std::string_view to) {
  PRISM_TRY(CheckVolumeName(to));
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(from));
    if (from == to) return {};
    if (FindLocked(to)) return Explain(Err::kExists, "volume \"{}\" exists already", to);
    std::unique_lock volume_lock(volume->mutex_);
    std::shared_lock gate(engine_->gate());
    RenameRecord record{volume->id(), std::string(to)};
    lsn = engine_->journal().Append(record.Encode(cow::RecordType::kRename));
    by_name_.erase(volume->row_.name);
    volume->row_.name = to;
    Insert(volume);
  }
  return WaitDurable(lsn, "the new name");
}

Outcome<CatalogEntry> Catalog::Find(std::string_view name) {
  std::lock_guard lock(mutex_);
  PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
  return EntryOf(volume);
}

Outcome<CatalogEntry> Catalog::Find(VolumeId id) {
  std::lock_guard lock(mutex_);
  auto found = by_id_.find(id);
  if (found == by_id_.end()) return Explain(Err::kNoEntry, "there is no volume {}", id);
  return EntryOf(found->second);
}

std::vector<CatalogEntry> Catalog::List() {
  std::vector<CatalogEntry> entries;
  std::lock_guard lock(mutex_);
  entries.reserve(by_name_.size());
  for (const auto& [name, volume] : by_name_) entries.push_back(EntryOf(volume));
  return entries;
}

}  // namespace prism::clone
