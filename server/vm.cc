#include "server/vm.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "fs/core/snapshot_view.h"

namespace prism::server {

using nlohmann::json;

std::string Vm::Row() const {
  json volumes = json::array();
  for (const Volume& volume : this->volumes())
    volumes.push_back({{"id", volume.id}, {"name", volume.name}});
  return json{{"uid", uid_},
              {"lanes", geometry_.lanes},
              {"queues", geometry_.queues},
              {"payload_bytes", geometry_.payload_bytes},
              {"volumes", volumes}}
      .dump();
}

Outcome<std::shared_ptr<Vm>> Vm::FromRow(std::string name, std::string_view row) {
  const json parsed = json::parse(row, nullptr, false);
  const auto number = [](const json& object, const char* field) -> uint64_t {
    const auto found = object.find(field);
    return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
  };
  const auto bad = [&] {
    return Explain(Err::kCorrupt, "what the store has of the machine {} makes no sense", name);
  };
  if (!parsed.is_object() || !parsed.contains("volumes") || !parsed["volumes"].is_array())
    return bad();
  vrpc::Geometry geometry;
  geometry.lanes = static_cast<uint32_t>(number(parsed, "lanes"));
  geometry.queues = static_cast<uint32_t>(number(parsed, "queues"));
  geometry.payload_bytes = static_cast<uint32_t>(number(parsed, "payload_bytes"));
  if (!geometry.Valid() || !parsed.contains("uid")) return bad();
  std::vector<Volume> volumes;
  for (const json& volume : parsed["volumes"]) {
    if (!volume.is_object() || !volume.contains("name") || !volume["name"].is_string())
      return bad();
    volumes.push_back({number(volume, "id"), volume["name"].get<std::string>()});
  }
  return std::make_shared<Vm>(std::move(name), static_cast<uid_t>(number(parsed, "uid")), geometry,
                              std::move(volumes));
}

std::vector<Vm::Volume> Vm::volumes() const {
  std::lock_guard lock(mutex_);
  return volumes_;
}

void Vm::set_volumes(std::vector<Volume> volumes) {
  std::lock_guard lock(mutex_);
  volumes_ = std::move(volumes);
}

Outcome<VolumeId> Vm::Resolve(fs::Host& host, std::string_view name) const {
  if (Outcome<fs::VolumeInfo> volume = host.Show(name))
    for (const Volume& attached : volumes_)
      if (attached.id == volume->id) return attached.id;
  for (const Volume& attached : volumes_)
    if (attached.name == name) return attached.id;
  return Explain(Err::kNoEntry, "no volume of that name is attached to {}", name_);
}

// The lock is held until the session is noted, so that a volume that is detached meanwhile is
// either not opened, or found by ClientsWith.
Outcome<std::shared_ptr<fs::FileSystem>> Vm::Open(fs::Host& host,
                                                  const vrpc::OpenRequest& request) {
  if (request.importing)
    return Explain(Err::kPerm, "imports do not go through the lane of a machine");
  std::lock_guard lock(mutex_);
  PRISM_ASSIGN(const VolumeId id, Resolve(host, request.volume));
  PRISM_ASSIGN(std::shared_ptr<fs::FileSystem> fs,
               request.resume ? host.Resume(id) : host.Attach(id));
  if (request.snapshots) {
    std::set<VolumeId> attached;
    for (const Volume& volume : volumes_) attached.insert(volume.id);
    fs = fs::WithSnapshots(host, id, std::move(fs), [attached](const fs::VolumeInfo& snapshot) {
      return attached.contains(snapshot.id);
    });
  }
  std::erase_if(opened_, [](const Opened& opened) { return opened.fs.expired(); });
  opened_.push_back({request.client, id, fs});
  return fs;
}

std::set<uint64_t> Vm::ClientsWith(const std::set<VolumeId>& volumes) {
  std::lock_guard lock(mutex_);
  std::erase_if(opened_, [](const Opened& opened) { return opened.fs.expired(); });
  std::set<uint64_t> clients;
  for (const Opened& opened : opened_)
    if (volumes.contains(opened.volume)) clients.insert(opened.client);
  return clients;
}

}  // namespace prism::server
