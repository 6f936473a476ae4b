// How volumes come into being in two steps, and how they stop changing.
#include "clone/catalog.h"

namespace prism::clone {

using cow::RecordType;

Outcome<CatalogEntry> Catalog::CreateUnborn() {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::lock_guard lock(mutex_);
  CreateRecord record = PlanCreate(kUnbornPrefix + std::to_string(next_id_), true);
  std::shared_lock gate(engine_->gate());
  (void)engine_->journal().Append(record.Encode());
  std::shared_ptr<Volume> volume = ApplyCreate(std::move(record.row));
  return CatalogEntry{volume, volume->row_};
}

Outcome<std::vector<CatalogEntry>> Catalog::CloneUnborn(std::string_view source_name, size_t count,
                                                        const cow::QuotaChange& quota,
                                                        bool flushed) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::lock_guard lock(mutex_);
  PRISM_ASSIGN(std::shared_ptr<Volume> source, RequireLocked(source_name));
  if (source->row_.importing)
    return Explain(Err::kBusy, "volume \"{}\" is still being imported", source_name);
  CloneRecord record{.source = source->id(), .created_sec = NowSec(), .flushed = flushed};
  record.quota = quota.Of(source->row_.quota);
  for (VolumeId id = next_id_; record.targets.size() < count; ++id)
    record.targets.emplace_back(id, kUnbornPrefix + std::to_string(id));
  std::unique_lock source_lock(source->mutex_);
  std::shared_lock gate(engine_->gate());
  (void)engine_->journal().Append(record.Encode());
  ApplyClone(*source, record);
  std::vector<CatalogEntry> entries;
  for (const auto& [id, name] : record.targets) entries.push_back({by_id_[id], by_id_[id]->row_});
  return entries;
}

Outcome<std::vector<CatalogEntry>> Catalog::Reveal(const std::vector<CatalogEntry>& unborn,
                                                   const std::vector<std::string>& names,
                                                   const Request& request) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::vector<CatalogEntry> entries;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(*done);
    PRISM_TRY(CheckNewNames(names));
    RevealRecord record;
    std::vector<VolumeRow> answer;
    {
      std::vector<std::unique_lock<FairSharedMutex>> locks;
      for (const CatalogEntry& entry : unborn) locks.emplace_back(entry.volume->mutex_);
      std::shared_lock gate(engine_->gate());
      for (size_t i = 0; i < unborn.size(); ++i) {
        record.volumes.emplace_back(unborn[i].row.id, names[i]);
        VolumeRow& row = answer.emplace_back(unborn[i].volume->row_);
        row.name = names[i];
        row.importing = false;
      }
      lsn = Append(request, record.Encode(), std::move(answer));
      ApplyReveal(record);
    }
    for (const CatalogEntry& entry : unborn) entries.push_back(EntryOf(entry.volume));
  }
  PRISM_TRY(WaitDurable(lsn, "what was made"));
  return entries;
}

void Catalog::ApplyReveal(const RevealRecord& record) {
  for (const auto& [id, name] : record.volumes) {
    const std::shared_ptr<Volume>& volume = by_id_.at(id);
    volume->row_.importing = false;
    ApplyRename(volume, name);
    NoteUncounted(*volume);
  }
}

Outcome<CatalogEntry> Catalog::Seal(const CatalogEntry& pin, const Request& request) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  CatalogEntry entry;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(done->front());
    auto found = by_id_.find(pin.row.parent_id);
    if (found == by_id_.end())
      return Explain(Err::kNoEntry, "\"{}\" has gone meanwhile", pin.row.parent);
    const std::shared_ptr<Volume> volume = found->second;
    {
      std::unique_lock volume_lock(volume->mutex_);
      // Shared with the pin, its nodes cannot have been changed in place.
      if (volume->row_.root != pin.row.root)
        return Explain(Err::kAgain, "\"{}\" was changed meanwhile", FullName(*volume));
      std::shared_lock gate(engine_->gate());
      VolumeRow answer = volume->row_;
      answer.sealed = true;
      lsn = Append(request, SealRecord{volume->id()}.Encode(), {std::move(answer)});
      ApplySeal(*volume);
    }
    entry = EntryOf(volume);
  }
  PRISM_TRY(WaitDurable(lsn, "the seal"));
  return entry;
}

void Catalog::ApplySeal(Volume& volume) {
  volume.row_.sealed = true;
  volume.sealed_.store(true, std::memory_order_release);
  MarkChanged(volume);
}

Status Catalog::ReplayBirth(RecordType type, std::string_view payload) {
  if (type == RecordType::kReveal) {
    PRISM_ASSIGN(RevealRecord record, RevealRecord::Decode(payload));
    for (const auto& [id, name] : record.volumes) PRISM_TRY(ForReplay(id));
    ApplyReveal(record);
    return {};
  }
  PRISM_ASSIGN(SealRecord record, SealRecord::Decode(payload));
  PRISM_ASSIGN(std::shared_ptr<Volume> volume, ForReplay(record.volume));
  ApplySeal(*volume);
  return {};
}

}  // namespace prism::clone
