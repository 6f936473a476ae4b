#include "tests/model/model_host.h"

#include <algorithm>
#include <set>

namespace prism::model {
namespace {

constexpr size_t kNameMax = 128;

bool IsVolumeName(std::string_view name) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= kNameMax && name[0] != '.' && name[0] != '-' &&
         name.find_first_not_of(kAllowed) == name.npos;
}

std::string_view VolumeOf(std::string_view name) { return name.substr(0, name.find('@')); }

bool IsSnapshotName(std::string_view name) {
  const std::string_view volume = VolumeOf(name);
  return volume.size() < name.size() && IsVolumeName(volume) &&
         IsVolumeName(name.substr(volume.size() + 1)) && name.size() <= kNameMax;
}

}  // namespace

fs::VolumeInfo ModelHost::Info(const Volume& volume) {
  fs::VolumeInfo info;
  info.id = volume.id;
  info.name = volume.name;
  info.parent = volume.parent;
  info.parent_id = volume.parent_id;
  info.snapshot_of = volume.snapshot_of;
  info.expires_sec = volume.expires_sec;
  info.holds.assign(volume.holds.begin(), volume.holds.end());
  info.importing = volume.importing;
  info.sealed = volume.sealed;
  info.composed = volume.composed;
  info.created_sec = volume.created_sec;
  info.inodes = volume.nodes.size();
  for (const auto& [ino, node] : volume.nodes) info.logical_bytes += AttrOf(node).used_bytes;
  info.attached = static_cast<uint32_t>(volume.attached.size());
  return info;
}

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

Outcome<fs::VolumeInfo> ModelHost::Create(std::string_view name, bool importing, std::string_view) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(CheckNew(name));
  auto volume = std::make_shared<Volume>();
  MakeRoot(*volume);
  volume->id = ++world_->last_id;
  volume->name = name;
  volume->importing = importing;
  world_->volumes[volume->name] = volume;
  return Info(*volume);
}

Outcome<void> ModelHost::Publish(std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(name));
  if (!volume->importing) return Explain(Err::kInvalid, "'{}' is not being imported", name);
  volume->importing = false;
  return {};
}

Outcome<std::vector<fs::VolumeInfo>> ModelHost::Clone(std::string_view source,
                                                      const std::vector<std::string>& targets,
                                                      std::string_view request_key,
                                                      const cow::QuotaChange&) {
  std::lock_guard lock(world_->mutex);
  if (auto done = world_->answers.find(request_key); done != world_->answers.end())
    return done->second;
  PRISM_ASSIGN(auto origin, Find(source));
  if (origin->importing) return Explain(Err::kBusy, "'{}' is still being imported", source);
  for (const std::string& target : targets) PRISM_TRY(CheckNew(target));
  if (std::set<std::string>(targets.begin(), targets.end()).size() != targets.size())
    return Explain(Err::kExists, "a target is named twice");

  std::vector<fs::VolumeInfo> made;
  for (const std::string& target : targets) {
    auto volume = Copy(*origin, target);
    // Nobody holds an orphan of the source here.
    std::erase_if(volume->nodes, [](const auto& item) { return item.second.nlink == 0; });
    EmptyVolatiles(*world_, *volume);
    made.push_back(Info(*volume));
  }
  if (!request_key.empty()) world_->answers.emplace(request_key, made);
  return made;
}

std::shared_ptr<Volume> ModelHost::Copy(const Volume& origin, std::string_view name) {
  auto volume = std::make_shared<Volume>(origin);
  volume->id = ++world_->last_id;
  volume->name = name;
  volume->parent = origin.name;
  volume->parent_id = origin.id;
  volume->snapshot_of = 0;
  volume->created_sec = Now().sec;
  volume->expires_sec = 0;
  volume->holds.clear();
  volume->sealed = false;
  volume->attached.clear();
  volume->locks = {};
  world_->volumes[volume->name] = volume;
  return volume;
}

Outcome<void> ModelHost::Destroy(const std::vector<std::string>& names, bool recursive,
                                 std::string_view) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(const std::set<std::string> chosen, Choose(names, recursive));
  for (const std::string& name : chosen) {
    auto volume = *Find(name);
    volume->destroyed = true;
    volume->nodes.clear();
    world_->volumes.erase(name);
  }
  return {};
}

Outcome<fs::VolumeInfo> ModelHost::Rename(std::string_view from, std::string_view to,
                                          std::string_view) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(from));
  if (!volume->is_snapshot() && !IsVolumeName(to))
    return Explain(Err::kInvalid, "'{}' cannot name a volume", to);
  if (volume->is_snapshot() && (!IsSnapshotName(to) || VolumeOf(to) != VolumeOf(volume->name)))
    return Explain(Err::kInvalid, "'{}' cannot name that snapshot", to);
  for (const auto& [name, other] : world_->volumes)
    if (other->snapshot_of == volume->id && name.size() - from.size() + to.size() > kNameMax)
      return Explain(Err::kInvalid, "'{}' would be too long", name);
  if (from == to) return Info(*volume);
  if (Find(to)) return Explain(Err::kExists, "volume '{}' exists", to);
  std::vector<std::shared_ptr<Volume>> moved{volume};
  for (const auto& [name, other] : world_->volumes)
    if (other->snapshot_of == volume->id) moved.push_back(other);
  for (const auto& one : moved) {
    world_->volumes.erase(one->name);
    one->name = std::string(to).append(one->name.substr(from.size()));
    world_->volumes[one->name] = one;
  }
  return Info(*volume);
}

std::vector<fs::VolumeInfo> ModelHost::List() {
  std::lock_guard lock(world_->mutex);
  std::vector<fs::VolumeInfo> all;
  for (const auto& [name, volume] : world_->volumes) all.push_back(Info(*volume));
  return all;
}

Outcome<fs::VolumeInfo> ModelHost::Show(std::string_view name) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(name));
  return Info(*volume);
}

Outcome<fs::VolumeInfo> ModelHost::Show(VolumeId id) {
  for (const fs::VolumeInfo& volume : List())
    if (volume.id == id) return volume;
  return Explain(Err::kNoEntry, "there is no volume {}", id);
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

Outcome<std::set<std::string>> ModelHost::Choose(const std::vector<std::string>& names,
                                                 bool recursive) const {
  std::set<std::string> chosen;
  for (const std::string& name : names) {
    PRISM_ASSIGN(auto volume, Find(name));
    chosen.insert(name);
    for (const auto& [other_name, other] : world_->volumes)
      if (recursive && other->snapshot_of == volume->id) chosen.insert(other_name);
  }
  for (const auto& [name, volume] : world_->volumes) {
    if (chosen.contains(name) && !volume->holds.empty())
      return Explain(Err::kBusy, "'{}' is held", name);
    if (!chosen.contains(name) && volume->is_snapshot() &&
        chosen.contains(std::string(VolumeOf(name))))
      return Explain(Err::kBusy, "there is a snapshot '{}'", name);
  }
  return chosen;
}

Outcome<std::vector<fs::VolumeInfo>> ModelHost::Snapshot(const std::vector<std::string>& names,
                                                         int64_t ttl_sec, std::string_view) {
  std::lock_guard lock(world_->mutex);
  if (names.empty() || ttl_sec < 0) return Explain(Err::kInvalid, "no such snapshot");
  for (const std::string& name : names) {
    if (!IsSnapshotName(name)) return Explain(Err::kInvalid, "'{}' names no snapshot", name);
    PRISM_TRY(Find(VolumeOf(name)));
  }
  for (const std::string& name : names) {
    if ((*Find(VolumeOf(name)))->importing)
      return Explain(Err::kBusy, "'{}' is still being imported", name);
    if (Find(name)) return Explain(Err::kExists, "'{}' exists", name);
  }
  if (std::set<std::string>(names.begin(), names.end()).size() != names.size())
    return Explain(Err::kExists, "a snapshot is named twice");
  std::vector<fs::VolumeInfo> made;
  for (const std::string& name : names) {
    auto origin = *Find(VolumeOf(name));
    auto volume = Copy(*origin, name);
    volume->snapshot_of = origin->id;
    EmptyVolatiles(*world_, *volume);
    if (ttl_sec > 0) volume->expires_sec = volume->created_sec + ttl_sec;
    made.push_back(Info(*volume));
  }
  return made;
}

// Of what had no name then, only that stays which somebody has held ever since.
Outcome<fs::VolumeInfo> ModelHost::Rollback(std::string_view name, std::string_view) {
  std::lock_guard lock(world_->mutex);
  if (!IsSnapshotName(name)) return Explain(Err::kInvalid, "'{}' names no snapshot", name);
  PRISM_ASSIGN(auto snapshot, Find(name));
  auto volume = *Find(VolumeOf(name));
  if (volume->sealed) return Explain(Err::kReadOnly, "'{}' is sealed", volume->name);
  const std::map<InodeId, Node> before = std::move(volume->nodes);
  volume->nodes = snapshot->nodes;
  std::erase_if(volume->nodes, [&](const auto& item) {
    auto held = before.find(item.first);
    return item.second.nlink == 0 && (held == before.end() || held->second.nlink > 0);
  });
  volume->volatiles = snapshot->volatiles;
  EmptyVolatiles(*world_, *volume);
  for (ModelFileSystem* client : volume->attached) client->TreeReplaced();
  return Info(*volume);
}

Outcome<fs::CloneResult> ModelHost::CloneWith(std::string_view source,
                                              const std::vector<std::string>& targets,
                                              const fs::CloneOptions& options) {
  fs::CloneResult result;
  PRISM_ASSIGN(result.volumes, Clone(source, targets, options.request_key));
  if (options.barrier_ms) result.reason = "the model asks nobody";
  if (options.preparation == nullptr) return result;
  for (const fs::VolumeInfo& volume : result.volumes) {
    PRISM_ASSIGN(auto client, Attach(volume.id));
    Outcome<void> prepared = options.preparation->prepare(volume.name, *client);
    if (prepared) continue;
    PRISM_TRY(Destroy(targets));
    return tl::unexpected(prepared.error());
  }
  return result;
}

Outcome<fs::VolumeInfo> ModelHost::Inspect(std::string_view name,
                                           const fs::Inspection& inspection) {
  PRISM_ASSIGN(auto client, Attach(name, false));
  PRISM_TRY(inspection.inspect(*client));
  return Show(name);
}

Outcome<fs::VolumeInfo> ModelHost::Seal(std::string_view name, const fs::Inspection& inspection,
                                        std::string_view) {
  PRISM_ASSIGN(const fs::VolumeInfo before, Show(name));
  if (before.snapshot_of != 0) return Explain(Err::kInvalid, "'{}' is a snapshot", name);
  if (before.sealed) return before;
  PRISM_TRY(Inspect(name, inspection));
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(auto volume, Find(name));
  volume->sealed = true;
  return Info(*volume);
}

Outcome<fs::VolumeInfo> ModelHost::Hold(std::string_view name, std::string_view tag,
                                        std::string_view) {
  std::lock_guard lock(world_->mutex);
  if (!IsVolumeName(tag)) return Explain(Err::kInvalid, "'{}' is no tag", tag);
  PRISM_ASSIGN(auto volume, Find(name));
  volume->holds.emplace(tag);
  return Info(*volume);
}

Outcome<fs::VolumeInfo> ModelHost::Release(std::string_view name, std::string_view tag,
                                           std::string_view) {
  std::lock_guard lock(world_->mutex);
  if (!IsVolumeName(tag)) return Explain(Err::kInvalid, "'{}' is no tag", tag);
  PRISM_ASSIGN(auto volume, Find(name));
  volume->holds.erase(std::string(tag));
  return Info(*volume);
}

Outcome<fs::ExclusiveUsage> ModelHost::WouldFree(const std::vector<std::string>& names,
                                                 bool recursive) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(const std::set<std::string> chosen, Choose(names, recursive));
  fs::ExclusiveUsage usage{.volumes = chosen.size()};
  for (const std::string& name : chosen) usage.bytes += Info(**Find(name)).logical_bytes;
  return usage;
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
  return Attach(id);
}

Outcome<std::shared_ptr<fs::FileSystem>> ModelHost::Attach(VolumeId id) {
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
