// Composed volumes: the cut of all that they are made of, their parts, and their totals.
#include <algorithm>
#include <chrono>
#include <shared_mutex>

#include "clone/catalog.h"

namespace prism::clone {

using cow::RecordType;

namespace {

constexpr int64_t kSecond = 1'000'000'000;

}  // namespace

Outcome<ComposeRecord> Catalog::PlanCompose(const ComposePlan& plan, VolumeSet& sources) {
  PRISM_TRY(CheckVolumeName(plan.name));
  if (FindLocked(plan.name))
    return Explain(Err::kExists, "volume \"{}\" exists already", plan.name);
  auto use = [&](const std::string& name) -> Outcome<std::shared_ptr<Volume>> {
    PRISM_ASSIGN(std::shared_ptr<Volume> volume, RequireLocked(name));
    if (volume->row_.importing)
      return Explain(Err::kBusy, "volume \"{}\" is still being imported", name);
    sources[volume->id()] = volume;
    return volume;
  };
  ComposeRecord record;
  VolumeRow& row = record.row;
  Composition& composition = row.composition;
  if (plan.from.empty()) {
    row.hash_key = NewHashKey();
  } else {
    PRISM_ASSIGN(const std::shared_ptr<Volume> base, use(plan.from));
    record.from = base->id();
    composition = base->row_.composition;
  }
  const auto first_rule = static_cast<uint32_t>(composition.rules.size());
  composition.rules.insert(composition.rules.end(), plan.rules.begin(), plan.rules.end());
  if (composition.rules.size() > kComposeRulesMax)
    return Explain(Err::kTooBig, "more than {} rules, with those of \"{}\"", kComposeRulesMax,
                   plan.from);
  std::map<VolumeId, VolumeId> part_of;
  for (const ComposePlan::Part& part : plan.parts) {
    PRISM_ASSIGN(const std::shared_ptr<Volume> source, use(part.source));
    const auto [known, is_new] =
        part_of.emplace(source->id(), next_id_ + VolumeId{record.parts.size()});
    if (is_new) record.parts.emplace_back(known->second, source->id());
    const Composition& theirs = source->row_.composition;
    composition.depth = std::max<uint8_t>(composition.depth, theirs.depth + 1);
    const uint32_t prefix = composition.prefixes();
    if (theirs.prefixes() > kPrefixesMax - prefix || composition.depth > kComposeDepthMax)
      return Explain(Err::kTooBig,
                     "\"{}\" is composed itself, of too many parts, or too often: {} parts, and "
                     "{} within each other, are possible",
                     part.source, kPrefixesMax, kComposeDepthMax);
    composition.grafts.push_back({known->second, part.source, first_rule + part.rule, prefix,
                                  theirs.prefixes(), part.read_only});
  }
  const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  composition.cut_sec = now / kSecond;
  composition.cut_nsec = now % kSecond;
  row.id = next_id_ + record.parts.size();
  row.name = plan.name;
  row.importing = true;
  row.created_sec = composition.cut_sec;
  return record;
}

Outcome<CatalogEntry> Catalog::Compose(const ComposePlan& plan) {
  if (!engine_->Admit()) return Explain(Err::kIo, "the store accepts no changes: see the log");
  std::shared_ptr<Volume> volume;
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    VolumeSet sources;
    PRISM_ASSIGN(const ComposeRecord record, PlanCompose(plan, sources));
    std::vector<std::unique_lock<FairSharedMutex>> locks;
    for (const auto& [id, source] : sources) {
      locks.emplace_back(source->mutex_);
      if (source->row_.next_ino > kNumberMax)
        return Explain(Err::kTooLarge, "\"{}\" has made more than 2^{} files", FullName(*source),
                       kPrefixShift);
    }
    std::shared_lock gate(engine_->gate());
    lsn = engine_->journal().Append(record.Encode());
    volume = ApplyCompose(record);
  }
  PRISM_TRY(WaitDurable(lsn, "the composed volume"));
  return Find(volume->id());
}

std::shared_ptr<Volume> Catalog::ApplyCompose(const ComposeRecord& record) {
  for (const auto& [part, source] : record.parts)
    ApplyClone(*by_id_.at(source),
               {.source = source,
                .created_sec = record.row.created_sec,
                .targets = {{part, std::string(kPartName) + std::to_string(part)}}});
  VolumeRow row = record.row;
  row.line = row.id;
  const bool has_base = record.from != 0;
  AddPartTotals(row, has_base ? by_id_.at(record.from)->row_.composition.grafts.size() : 0);
  if (!has_base) {
    row.composition.made_from = row.composition.made_until = row.next_ino;
    return ApplyCreate(std::move(row));
  }
  Volume& base = *by_id_.at(record.from);
  const uint64_t part_inodes = row.inodes, part_bytes = row.bytes;
  row = base.DescendantRow(FullName(base));
  row.inodes += part_inodes;
  row.bytes += part_bytes;
  row.id = record.row.id;
  row.name = record.row.name;
  row.importing = record.row.importing;
  row.created_sec = record.row.created_sec;
  row.composition = record.row.composition;
  row.own_from = engine_->chunks().next_id();
  row.usage.own_chunk_bytes = 0;
  row.birth_node_bytes = row.usage.node_bytes;
  row.line = row.id;
  row.next_ino = std::max(row.next_ino, FirstInode(row.id));
  row.composition.made_from = row.composition.made_until = row.next_ino;
  engine_->references().Add(row.root);
  ++base.tree_.generation;  // what it owned alone is shared now
  auto volume = std::make_shared<Volume>(*engine_, *this, std::move(row));
  Insert(volume);
  return volume;
}

// Nobody knows yet how much of each part is in the volume; that it is more is impossible, and so is
// growing beyond a quota meanwhile.
void Catalog::AddPartTotals(VolumeRow& row, size_t from_graft) {
  const std::vector<Graft>& grafts = row.composition.grafts;
  for (size_t i = from_graft; i < grafts.size(); ++i) {
    const VolumeRow& part = by_id_.at(grafts[i].part)->row_;
    row.inodes += part.inodes;
    row.bytes += part.bytes;
  }
}

Outcome<CatalogEntry> Catalog::FinishCompose(VolumeId id, bool partial, const Request& request) {
  Lsn lsn;
  {
    std::lock_guard lock(mutex_);
    auto found = by_id_.find(id);
    if (found == by_id_.end())
      return Explain(Err::kNoEntry, "the new volume was destroyed meanwhile");
    Volume& volume = *found->second;
    std::unique_lock volume_lock(volume.mutex_);
    std::shared_lock gate(engine_->gate());
    const ComposedRecord record{id, partial};
    VolumeRow answer = volume.row_;
    answer.importing = false;
    lsn = Append(request, record.Encode(), {std::move(answer)});
    ApplyComposed(volume, record);
  }
  PRISM_TRY(WaitDurable(lsn, "the composed volume"));
  return Find(id);
}

void Catalog::ApplyComposed(Volume& volume, const ComposedRecord& record) {
  Composition& composition = volume.row_.composition;
  composition.partial = composition.partial || record.partial;
  composition.uncounted = composition.partial || !composition.grafts.empty();
  composition.made_until = volume.row_.next_ino;
  NoteUncounted(volume);
  volume.row_.importing = false;
  MarkChanged(volume);
}

std::optional<CatalogEntry> Catalog::Part(VolumeId id) {
  std::lock_guard lock(mutex_);
  auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  return EntryOf(found->second);
}

void Catalog::AddParts(VolumeSet& volumes) {
  std::map<VolumeId, uint64_t> going;
  std::vector<std::shared_ptr<Volume>> left;
  for (const auto& [id, volume] : volumes) left.push_back(volume);
  while (!left.empty()) {
    const std::shared_ptr<Volume> volume = std::move(left.back());
    left.pop_back();
    if (volume->destroyed()) continue;
    for (const Graft& graft : volume->row_.composition.grafts) {
      if (++going[graft.part] < part_users_.at(graft.part)) continue;
      left.push_back(volumes[graft.part] = by_id_.at(graft.part));
    }
  }
}

std::vector<VolumeId> Catalog::Uncounted() {
  std::lock_guard lock(mutex_);
  return {uncounted_.begin(), uncounted_.end()};
}

void Catalog::NoteUncounted(const Volume& volume) {
  if (volume.row_.composition.uncounted && !IsHidden(volume.row_.name))
    uncounted_.insert(volume.id());
  else
    uncounted_.erase(volume.id());
}

void Catalog::SetCounted(VolumeId id, uint64_t replaced, int64_t inodes, int64_t bytes) {
  std::lock_guard lock(mutex_);
  auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  Volume& volume = *found->second;
  std::unique_lock volume_lock(volume.mutex_);
  if (volume.times_replaced() != replaced || !volume.row_.composition.uncounted) return;
  std::shared_lock gate(engine_->gate());
  const CountedRecord record{id, inodes, bytes};
  (void)engine_->journal().Append(record.Encode());  // lost: it is counted again
  ApplyCounted(volume, record);
}

void Catalog::ApplyCounted(Volume& volume, const CountedRecord& record) {
  volume.row_.inodes += static_cast<uint64_t>(record.inodes);  // modular: may be less
  volume.row_.bytes += static_cast<uint64_t>(record.bytes);
  volume.row_.composition.uncounted = false;
  NoteUncounted(volume);
  MarkChanged(volume);
}

void Catalog::SetUncounted(VolumeId id) {
  std::lock_guard lock(mutex_);
  auto found = by_id_.find(id);
  if (found == by_id_.end()) return;
  Volume& volume = *found->second;
  std::unique_lock volume_lock(volume.mutex_);
  std::shared_lock gate(engine_->gate());
  // Nobody waits for it: it is durable before the change of the totals that comes after it.
  (void)engine_->journal().Append(UncountedRecord{id}.Encode());
  ApplyUncounted(volume);
}

void Catalog::ApplyUncounted(Volume& volume) {
  volume.row_.composition.uncounted = true;
  volume.replaced_.fetch_add(1, std::memory_order_acq_rel);  // what has been counted so far is void
  NoteUncounted(volume);
  MarkChanged(volume);
}

Status Catalog::ReplayCompose(RecordType type, std::string_view payload) {
  if (type == RecordType::kCompose) {
    PRISM_ASSIGN(const ComposeRecord record, ComposeRecord::Decode(payload));
    for (const auto& [part, source] : record.parts) PRISM_TRY(ForReplay(source));
    if (record.from != 0) PRISM_TRY(ForReplay(record.from));
    for (const Graft& graft : record.row.composition.grafts)
      if (!by_id_.contains(graft.part) &&
          std::none_of(record.parts.begin(), record.parts.end(),
                       [&](const auto& part) { return part.first == graft.part; }))
        return Fail(Err::kCorrupt);
    ApplyCompose(record);
  } else if (type == RecordType::kComposed) {
    PRISM_ASSIGN(const ComposedRecord record, ComposedRecord::Decode(payload));
    PRISM_ASSIGN(const std::shared_ptr<Volume> volume, ForReplay(record.volume));
    ApplyComposed(*volume, record);
  } else if (type == RecordType::kUncounted) {
    PRISM_ASSIGN(const UncountedRecord record, UncountedRecord::Decode(payload));
    PRISM_ASSIGN(const std::shared_ptr<Volume> volume, ForReplay(record.volume));
    ApplyUncounted(*volume);
  } else {
    PRISM_ASSIGN(const CountedRecord record, CountedRecord::Decode(payload));
    PRISM_ASSIGN(const std::shared_ptr<Volume> volume, ForReplay(record.volume));
    ApplyCounted(*volume, record);
  }
  return {};
}

}  // namespace prism::clone
