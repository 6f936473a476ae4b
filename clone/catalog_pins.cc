// Volumes held still: what is read for longer than their locks can be held.
#include <algorithm>
#include <shared_mutex>

#include "clone/catalog.h"

namespace prism::clone {

Outcome<std::vector<CatalogEntry>> Catalog::Pin(const std::vector<std::string>& names) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::lock_guard lock(mutex_);
  VolumeSet sources;
  std::vector<std::shared_ptr<Volume>> in_order;
  for (const std::string& name : names) {
    PRISM_ASSIGN(std::shared_ptr<Volume> source, RequireLocked(name));
    if (source->row_.importing)
      return Explain(Err::kBusy, "volume \"{}\" is still being imported", name);
    sources[source->id()] = source;
    in_order.push_back(source);
  }
  std::vector<CatalogEntry> pins;
  std::vector<std::unique_lock<FairSharedMutex>> locks;
  for (const auto& [id, volume] : sources) locks.emplace_back(volume->mutex_);
  std::shared_lock gate(engine_->gate());
  for (const std::shared_ptr<Volume>& source : in_order) {
    const VolumeId id = next_id_;
    CloneRecord record{source->id(), NowSec(), {{id, kPinPrefix + std::to_string(id)}}};
    (void)engine_->journal().Append(record.Encode());
    ApplyClone(*source, record);
    pins.push_back({by_id_.at(id), by_id_.at(id)->row_});
  }
  return pins;
}

void Catalog::Unpin(const std::vector<CatalogEntry>& pins) {
  std::lock_guard lock(mutex_);
  for (const CatalogEntry& pin : pins) {
    if (pin.volume->destroyed()) continue;  // it has become a volume's content
    (void)DestroyLocked({{pin.row.id, pin.volume}}, {});
  }
}

void Catalog::DropHidden() {
  std::vector<CatalogEntry> hidden;
  for (const auto& [name, volume] : by_name_)
    if (IsTemporary(name)) hidden.push_back({volume, volume->row_});
  Unpin(hidden);
}

Result<uint64_t> Catalog::Diff(const CatalogEntry& a, const CatalogEntry& b,
                               cow::Forest::DiffVisitor visitor) {
  return engine_->forest().DiffTrees(a.row.root, b.row.root, visitor);
}

}  // namespace prism::clone
