#include "server/nfs3/exports.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

namespace prism::nfs3 {
namespace {

std::string KeyOf(VolumeId volume) { return fmt::format("nfs/access/{}", volume); }

}  // namespace

Result<std::shared_ptr<const Exports::Export>> Exports::Find(VolumeId volume) {
  uint64_t changes_before = 0;
  {
    std::lock_guard lock(mutex_);
    changes_before = rules_changes_;
    auto slot = slots_.find(volume);
    if (slot != slots_.end()) {
      used_.splice(used_.end(), used_, slot->second.used);
      return slot->second.found;
    }
  }
  const Outcome<fs::VolumeInfo> info = host_.Show(volume);
  if (!info) return Fail(info.error().code == Err::kNoEntry ? Err::kStale : info.error().code);
  auto made = std::make_shared<Export>();
  made->snapshot_of = info->snapshot_of;
  Outcome<AccessRules> rules = StoredRules(*info);
  if (!rules) {
    spdlog::error("access rules of volume {}: {}", volume, rules.error().message);
    return Fail(Err::kIo);
  }
  made->rules = std::move(*rules);
  auto attached = host_.AttachNetwork(volume);
  if (!attached)
    return Fail(attached.error().code == Err::kNoEntry ? Err::kStale : attached.error().code);
  made->fs = std::move(*attached);

  std::lock_guard lock(mutex_);
  if (rules_changes_ != changes_before) return made;  // its rules may be old: for this once only
  auto [slot, inserted] = slots_.try_emplace(volume);
  if (!inserted) return slot->second.found;
  slot->second.found = made;
  slot->second.used = used_.insert(used_.end(), volume);
  if (slots_.size() > kKept) Drop(used_.front());
  return made;
}

void Exports::Drop(VolumeId volume) {
  auto slot = slots_.find(volume);
  if (slot == slots_.end()) return;
  used_.erase(slot->second.used);
  slots_.erase(slot);
}

Outcome<AccessRules> Exports::StoredRules(const fs::VolumeInfo& volume) {
  PRISM_ASSIGN(std::string stored, host_.Setting(KeyOf(volume.id)));
  if (stored.empty() && volume.snapshot_of != 0) {
    PRISM_ASSIGN(stored, host_.Setting(KeyOf(volume.snapshot_of)));
  }
  return AccessRules::Parse(stored);
}

Outcome<std::string> Exports::RulesOf(std::string_view name) {
  PRISM_ASSIGN(fs::VolumeInfo volume, host_.Show(name));
  PRISM_ASSIGN(AccessRules rules, StoredRules(volume));
  return rules.Text();
}

Outcome<void> Exports::SetRules(std::string_view name, std::string_view text) {
  PRISM_ASSIGN(fs::VolumeInfo volume, host_.Show(name));
  PRISM_ASSIGN(AccessRules rules, AccessRules::Parse(text));
  const bool is_default = text.find_first_not_of(" \t\r\n") == text.npos;
  PRISM_TRY(host_.SetSetting(KeyOf(volume.id), is_default ? "" : rules.Text()));
  std::lock_guard lock(mutex_);
  ++rules_changes_;
  Drop(volume.id);
  std::vector<VolumeId> snapshots;
  for (const auto& [id, slot] : slots_)
    if (slot.found->snapshot_of == volume.id) snapshots.push_back(id);
  for (VolumeId id : snapshots) Drop(id);
  return {};
}

}  // namespace prism::nfs3
