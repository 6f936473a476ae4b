#include "tests/model/model_host.h"

#include <algorithm>
#include <set>

namespace prism::model {
namespace {

bool IsVolumeName(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= 128 && name[0] != '.' && name[0] != '-' &&
         name.find_first_not_of(kAllowed) == name.npos;
}

fs::VolumeInfo InfoOf(const Volume& volume) {
  fs::VolumeInfo info;
  info.id = volume.id;
  info.name = volume.name;
  info.parent = volume.parent;
  info.importing = volume.importing;
  info.created_sec = volume.created_sec;
  info.inodes = volume.nodes.size();
  for (const auto& [ino, node] : volume.nodes) info.logical_bytes += AttrOf(node).used_bytes;
  info.attached = static_cast<uint32_t>(volume.attached.size());
  return info;
}

}  // namespace

Outcome<std::shared_ptr<Volume>> ModelHost::Find(std::string_view name) const {
  auto found = world_->volumes.find(std::string(name));
  if (found == world_->volumes.end()) return Explain(Err::kNoEntry, "no volume '{}'", name);
  return found->second;
}

Outcome<void> ModelHost::CheckNew(std::string_view name) const {
  if (!IsVolumeName(name)) return Explain(Err::kInvalid, "'{}' cannot name a volume", name);
  if (Find(name)) return Explain(Err::kExists, "volume '{}' exists", name);
  return {};
}

Outcome<fs::VolumeInfo> ModelHost::Create(std::string_view name, bool importing) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(CheckNew(name));
  auto volume = std::make_shared<Volume>();
  MakeRoot(*volume);
  volume->id = ++world_->last_id;
  volume->name = name;
  volume->importing = importing;
  world_->volumes[volume->name] = volume;
  return InfoOf(*volume);
}

Outcome<void> ModelHost::Publish(std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(name));
  if (!volume->importing) return Explain(Err::kInvalid, "'{}' is not being imported", name);
  volume->importing = false;
  return {};
}

Outcome<std::vector<fs::VolumeInfo>> ModelHost::Clone(std::string_view source,
                                                      const std::vector<std::string>& targets) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto origin, Find(source));
  if (origin->importing) return Explain(Err::kBusy, "'{}' is still being imported", source);
  for (const std::string& target : targets) PRISM_TRY(CheckNew(target));
  if (std::set<std::string>(targets.begin(), targets.end()).size() != targets.size())
    return Explain(Err::kExists, "a target is named twice");

  std::vector<fs::VolumeInfo> made;
  for (const std::string& target : targets) {
    auto volume = std::make_shared<Volume>(*origin);
    volume->id = ++world_->last_id;
    volume->name = target;
    volume->parent = source;
    volume->created_sec = Now().sec;
    volume->attached.clear();
    volume->locks = {};
    // Nobody holds an orphan of the source here.
    std::erase_if(volume->nodes, [](const auto& item) { return item.second.nlink == 0; });
    world_->volumes[target] = volume;
    made.push_back(InfoOf(*volume));
  }
  return made;
}

Outcome<void> ModelHost::Destroy(const std::vector<std::string>& names) {
  std::lock_guard lock(world_->mutex);
  for (const std::string& name : names) PRISM_TRY(Find(name));
  for (const std::string& name : names) {
    auto volume = Find(name);
    if (!volume) continue;  // named twice
    (*volume)->destroyed = true;
    (*volume)->nodes.clear();
    world_->volumes.erase(name);
  }
  return {};
}

Outcome<void> ModelHost::Rename(std::string_view from, std::string_view to) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(from));
  if (from == to) return {};
  PRISM_TRY(CheckNew(to));
  world_->volumes.erase(volume->name);
  volume->name = to;
  world_->volumes[volume->name] = volume;
  return {};
}

std::vector<fs::VolumeInfo> ModelHost::List() {
  std::lock_guard lock(world_->mutex);
  std::vector<fs::VolumeInfo> all;
  for (const auto& [name, volume] : world_->volumes) all.push_back(InfoOf(*volume));
  return all;
}

Outcome<fs::VolumeInfo> ModelHost::Show(std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(name));
  return InfoOf(*volume);
}

Outcome<fs::ExclusiveUsage> ModelHost::Exclusive(std::string_view name) {
  PRISM_ASSIGN(fs::VolumeInfo info, Show(name));
  return fs::ExclusiveUsage{info.logical_bytes, 0};  // nothing is shared here
}

fs::StoreStats ModelHost::Stats() {
  fs::StoreStats stats;
  for (const fs::VolumeInfo& volume : List()) {
    ++stats.volumes;
    stats.nodes += volume.inodes;
    stats.logical_bytes += volume.logical_bytes;
  }
  stats.unique_bytes = stats.stored_bytes = stats.logical_bytes;
  stats.free_bytes = kFreeBytes;
  return stats;
}

Outcome<std::shared_ptr<fs::FileSystem>> ModelHost::Attach(std::string_view name, bool importing) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(name));
  if (volume->importing && !importing)
    return Explain(Err::kBusy, "'{}' is still being imported", name);
  if (!volume->importing && importing)
    return Explain(Err::kInvalid, "'{}' is not being imported", name);
  return MakeClient(world_, volume);
}

Outcome<std::shared_ptr<fs::FileSystem>> ModelHost::AttachNetwork(VolumeId id) {
  return Attach(id, false);
}

Outcome<std::shared_ptr<fs::FileSystem>> ModelHost::Attach(VolumeId id, bool) {
  for (const fs::VolumeInfo& volume : List())
    if (volume.id == id) return Attach(volume.name, false);
  return Explain(Err::kNoEntry, "there is no volume {}", id);
}

Outcome<std::string> ModelHost::Setting(std::string_view key) {
  std::lock_guard lock(settings_mutex_);
  auto found = settings_.find(key);
  return found == settings_.end() ? std::string() : found->second;
}

Outcome<void> ModelHost::SetSetting(std::string_view key, std::string_view value) {
  std::lock_guard lock(settings_mutex_);
  settings_.erase(std::string(key));
  if (!value.empty()) settings_.emplace(key, value);
  return {};
}

Outcome<std::vector<std::pair<std::string, std::string>>> ModelHost::Settings(
    std::string_view prefix) {
  std::lock_guard lock(settings_mutex_);
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& [key, value] : settings_)
    if (key.starts_with(prefix)) found.emplace_back(key, value);
  return found;
}

}  // namespace prism::model
