// Giving a volume another content, which was made aside, in one step.
#include <shared_mutex>

#include "clone/catalog.h"

namespace prism::clone {

std::optional<CatalogEntry> Catalog::FindAt(Place place) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<Volume> found;
  {
    std::shared_lock gate(engine_->gate());  // rows do not change
    for (const auto& [id, volume] : by_id_) {
      const VolumeRow& row = volume->row_;
      if (row.importing || IsHidden(row.name)) continue;
      const bool is_there = row.snapshot_of == 0 ? Place{row.line, row.changed} == place
                                                 : !row.past.empty() && row.past.back() == place;
      if (!is_there) continue;
      if (found == nullptr || volume->is_snapshot()) found = volume;
    }
  }
  if (found == nullptr) return std::nullopt;
  return EntryOf(found);
}

Outcome<CatalogEntry> Catalog::Replace(const CatalogEntry& branch, const CatalogEntry& as_of,
                                       VolumeId volume_id, std::string_view label,
                                       int64_t own_bytes, const Request& request) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  CatalogEntry entry;
  Lsn lsn;
  {
    std::unique_lock lock(mutex_);
    PRISM_ASSIGN(Done done, FindDoneLocked(request, lock));
    if (done) return std::move(done->front());
    auto found = by_id_.find(volume_id);
    if (found == by_id_.end()) return Explain(Err::kNoEntry, "the volume has been destroyed");
    const std::shared_ptr<Volume> volume = found->second;
    const std::string name = FullName(*volume) + "@" + std::string(label);
    VolumeSet sources;
    PRISM_ASSIGN(const SnapshotRecord snapshot, PlanSnapshot({name}, sources));
    {
      std::unique_lock volume_lock(volume->mutex_);
      if (volume->read_only())
        return Explain(Err::kReadOnly, "\"{}\" is sealed: it does not change", FullName(*volume));
      std::unique_lock branch_lock(branch.volume->mutex_);  // its id is the greater one
      if (LineageUntilNow(volume->row_) != as_of.row.past)
        return Explain(Err::kAgain, "volume \"{}\" is being changed", volume->row_.name);
      std::shared_lock gate(engine_->gate());
      const ReplaceRecord record{volume_id, branch.row.id,      snapshot.targets.front().id,
                                 NowSec(),  std::string(label), own_bytes};
      VolumeRow answer = volume->row_;
      answer.inodes = branch.volume->row_.inodes;
      answer.bytes = branch.volume->row_.bytes;
      lsn = Append(request, record.Encode(), {answer});
      ApplyReplace(record, lsn);
    }
    entry = EntryOf(volume);
  }
  PRISM_TRY(WaitDurable(lsn, "the new content"));
  return entry;
}

void Catalog::ApplyReplace(const ReplaceRecord& record, Lsn lsn) {
  Volume& volume = *by_id_.at(record.volume);
  const std::shared_ptr<Volume> source = by_id_.at(record.source);
  ApplySnapshot({record.created_sec, 0, {{record.volume, record.snapshot, record.label}}});
  const VolumeRow before = volume.row_;
  ApplyRollback(volume, *source, lsn);
  VolumeRow& row = volume.row_;
  const auto own_bytes = static_cast<uint64_t>(record.own_bytes);
  if (source->row_.parent_id == record.volume) {  // its own content goes on
    row.own_from = before.own_from;
    row.usage.own_chunk_bytes = before.usage.own_chunk_bytes + own_bytes;
    row.birth_node_bytes = before.birth_node_bytes;
  } else {
    row.parent = source->row_.parent;
    row.parent_id = source->row_.parent_id;
    row.birth_node_bytes -= own_bytes;
  }
  volume.tree_.own_from = row.own_from;
  volume.tree_.usage = row.usage;
  ApplyDestroy(*source);
}

}  // namespace prism::clone
