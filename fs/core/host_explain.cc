// Where the files of composed volumes come from, and their totals.
#include <spdlog/spdlog.h>

#include <chrono>

#include "fs/core/count_files.h"
#include "fs/core/diff_items.h"
#include "fs/core/host_impl.h"

namespace prism::fs {
namespace {

using clone::Composition;

constexpr std::chrono::seconds kCountAgainAfter{10};
constexpr std::string_view kFrom = "--from ";

const clone::Graft* GraftOf(const Composition& composition, InodeId ino) {
  const uint64_t prefix = ino >> clone::kPrefixShift;
  for (const clone::Graft& graft : composition.grafts)
    if (prefix >= graft.prefix && prefix - graft.prefix < graft.prefixes) return &graft;
  return nullptr;
}

// The last that is about the path or something below it: that made what was missing above.
std::string RuleAbout(const Composition& composition, std::string_view path) {
  std::string about;
  for (const std::string& rule : composition.rules) {
    const size_t at = rule.rfind(path);
    if (rule.starts_with("--exclude") || at == rule.npos || at == 0) continue;
    if (std::string_view(" =").find(rule[at - 1]) != std::string_view::npos) about = rule;
  }
  return about;
}

// An inode without prefix.
FileOrigin OwnOrigin(const clone::VolumeRow& row, InodeId ino, std::string_view path) {
  const Composition& composition = row.composition;
  FileOrigin origin;
  origin.path = path;
  if (!composition.composed() || ino >= composition.made_until) return origin;
  origin.cut_sec = composition.cut_sec;
  if (ino >= composition.made_from) {
    origin.rule = RuleAbout(composition, path);
    return origin;
  }
  for (const std::string& rule : composition.rules)
    if (rule.starts_with(kFrom)) origin.rule = rule;
  if (!origin.rule.empty()) origin.volume = origin.rule.substr(kFrom.size());
  return origin;
}

bool IsLater(const Timespec& time, const Composition& composition) {
  return time.sec > composition.cut_sec ||
         (time.sec == composition.cut_sec && time.nsec > composition.cut_nsec);
}

}  // namespace

Outcome<Explanation> HostImpl::ExplainFile(std::string_view name, std::string_view path) {
  PRISM_ASSIGN(clone::CatalogEntry entry, catalog_->Find(name));
  if (std::shared_ptr<VolumeCore> core = OpenCoreOf(entry.row.id)) {
    if (Status flushed = core->Flush(); !flushed)
      return Failed(flushed.error(), "writing what the volume holds in memory");
  }
  const std::shared_ptr<cow::VolumeMap> map = OpenMapOf(entry.volume);
  auto view = map->Read();
  PRISM_ASSIGN(const Found found, FindPath(*view, HashKeys(*map), path));
  Explanation explanation;
  explanation.ino = found.ino;
  const auto record = LoadInode(*view, found.ino);
  if (!record) return Failed(record.error(), "reading the file");
  const Composition& composition = entry.row.composition;
  const bool from_base = found.ino < composition.made_from;
  explanation.changed = from_base && IsLater(record->attr.ctime, composition);
  if (const auto* composed = dynamic_cast<const ComposedMap*>(map.get()))
    if (const GraftedTree::Graft* graft = composed->tree().Find(found.ino)) {
      std::string value;
      const auto there =
          GraftedTree::GetInPart(*graft, cow::MakeKey(cow::ItemType::kInode, found.ino), value);
      const auto old = there && *there ? DecodeInode(found.ino, value)
                                       : Result<InodeRecord>(Fail(Err::kCorrupt));
      if (!old) return Failed(old.error(), "reading the file in its source");
      explanation.changed = record->attr.change != old->attr.change;
    }
  PRISM_TRY(FindOrigins(entry, found.ino, path, explanation.origins));
  return explanation;
}

Outcome<void> HostImpl::FindOrigins(clone::CatalogEntry entry, InodeId ino, std::string_view path,
                                    std::vector<FileOrigin>& origins) {
  std::string path_there(path);
  while (const clone::Graft* graft = GraftOf(entry.row.composition, ino)) {
    const Composition composition = entry.row.composition;
    std::optional<clone::CatalogEntry> part = catalog_->Part(graft->part);
    if (!part) return Explain(Err::kNoEntry, "the volume has just been destroyed");
    FileOrigin origin{
        graft->source, {}, composition.rules[graft->rule], composition.cut_sec, graft->read_only};
    ino -= InodeId{graft->prefix} << clone::kPrefixShift;
    const auto found =
        PathOf(*MapOf(part->volume)->Read(), ino, path_there.substr(path_there.rfind('/') + 1));
    if (!found) return Failed(found.error(), "finding the path in the source");
    origin.path = path_there = *found;
    origins.push_back(std::move(origin));
    entry = std::move(*part);
  }
  // What a source that is no composition has itself has been said.
  if (origins.empty() || entry.row.composition.composed())
    origins.push_back(OwnOrigin(entry.row, ino, path_there));
  return {};
}

// A volume that cannot be counted is tried again later, and keeps no other from being counted.
void HostImpl::StartCounting() {
  using namespace std::chrono_literals;
  if (counting_.valid() && counting_.wait_for(0s) != std::future_status::ready) return;
  const auto now = std::chrono::steady_clock::now();
  std::erase_if(count_failed_, [&](const auto& at) { return now - at.second > kCountAgainAfter; });
  std::vector<VolumeId> due = catalog_->Uncounted();
  std::erase_if(due, [this](VolumeId id) { return count_failed_.contains(id); });
  if (due.empty()) return;
  counting_ = std::async(std::launch::async, [this, due = std::move(due)] {
    for (const VolumeId id : due)
      if (!stop_counting_) CountComposed(id);
  });
}

// By how much the volume's totals are wrong is the same however they change meanwhile.
void HostImpl::CountComposed(VolumeId id) {
  // What is emptied then is taken off the totals then.
  if (const auto known = catalog_->Find(id)) OpenMapOf(known->volume);
  std::unique_lock totals(totals_mutex_);
  const auto entry = catalog_->Find(id);
  if (!entry) return;  // gone
  const uint64_t replaced = entry->volume->times_replaced();
  auto pinned = catalog_->Pin({entry->row.name});
  totals.unlock();
  if (!pinned) return;  // renamed or gone: the next time
  const HiddenVolumes pins(*catalog_, std::move(*pinned));
  const clone::VolumeRow& row = pins[0].row;
  if (row.parent_id != id) return;
  const auto map = MapOf(pins[0].volume);
  auto usage = CountFiles(*map->Read(), stop_counting_);
  if (!usage) {
    spdlog::error("volume {}: its files cannot be counted ({}); this is tried again", id,
                  NameOf(usage.error()));
    count_failed_[id] = std::chrono::steady_clock::now();
    return;
  }
  if (!*usage) return;
  catalog_->SetCounted(id, replaced, static_cast<int64_t>((*usage)->inodes - row.inodes),
                       static_cast<int64_t>((*usage)->bytes - row.bytes));
}

}  // namespace prism::fs
