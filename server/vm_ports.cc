#include "server/vm_ports.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "server/plain_name.h"
#include "server/vm_directory.h"
#include "vrpc/segment.h"

namespace prism::server {
namespace {

constexpr std::string_view kRowPrefix = "vm/";
constexpr uint32_t kDefaultLanes = 4;
constexpr uint32_t kDefaultQueues = 4;
constexpr auto kEndTimeout = std::chrono::seconds(5);

std::string RowKey(const std::string& vm) { return std::string(kRowPrefix).append(vm); }

// What must be equal for a server to go on with another's segment.
std::string NoteFor(const vrpc::Geometry& geometry) {
  return fmt::format("vrpc {}: {} lanes, {} queues, {} entries, {} slots, {} + {} bytes, {} events",
                     vrpc::kVersion, geometry.lanes, geometry.queues, geometry.ring_entries,
                     geometry.slots, geometry.message_bytes, geometry.payload_bytes,
                     geometry.events);
}

}  // namespace

// Passes channels on to the store, with what their next server must know.
class VmPorts::Keeper : public vrpc::FdKeeper {
 public:
  explicit Keeper(VmPorts& ports) : ports_(ports) {}

  void Put(const std::string& port, std::span<const int> fds) override {
    if (IsAdopting(port)) return;  // it is there
    const std::shared_ptr<Vm> vm = ports_.Find(port);
    if (!vm) return;
    if (Outcome<void> put = ports_.store_.Put(port, NoteFor(vm->geometry()), fds); !put)
      spdlog::error("the lane of {} will not survive this server: {}", port, put.error().message);
  }
  void Remove(const std::string& port) override { ports_.store_.Remove(port); }

  // Goes on with what an earlier server stored.
  Outcome<void> Adopt(const std::string& port, vrpc::ChannelFds fds) {
    SetAdopting(port);
    Outcome<void> adopted = ports_.lanes_.Adopt(port, std::move(fds));
    SetAdopting("");
    return adopted;
  }

 private:
  bool IsAdopting(const std::string& port) {
    std::lock_guard lock(mutex_);
    return port == adopting_;
  }
  void SetAdopting(const std::string& port) {
    std::lock_guard lock(mutex_);
    adopting_ = port;
  }

  VmPorts& ports_;
  std::mutex mutex_;
  std::string adopting_;  // guarded by mutex_
};

VmPorts::VmPorts(fs::Host& host, vrpc::Server& lanes, FdStore& store, std::string directory)
    : host_(host),
      lanes_(lanes),
      store_(store),
      directory_(std::move(directory)),
      keeper_(std::make_unique<Keeper>(*this)) {}

// Ports refer to this object; there is none any more once they have stopped.
VmPorts::~VmPorts() { lanes_.Stop(); }

Outcome<void> VmPorts::Restore() {
  std::lock_guard changes(change_mutex_);
  PRISM_ASSIGN(auto rows, host_.Settings(kRowPrefix));
  for (auto& [key, row] : rows) {
    Outcome<std::shared_ptr<Vm>> vm = Vm::FromRow(key.substr(kRowPrefix.size()), row);
    Outcome<void> opened;
    if (vm) {
      {
        std::lock_guard lock(mutex_);
        vms_[(*vm)->name()] = *vm;
      }
      opened = OpenPort(*vm);
      if (!opened) closed_.insert((*vm)->name());
    }
    if (!vm || !opened)
      spdlog::error("a machine that is attached has no lane: {}",
                    vm ? opened.error().message : vm.error().message);
  }
  for (FdStore::Entry& entry : store_.TakeAll()) Adopt(std::move(entry));
  return {};
}

void VmPorts::Adopt(FdStore::Entry entry) {
  const std::shared_ptr<Vm> vm = Find(entry.name);
  Outcome<void> adopted;
  if (!vm) {
    adopted = Explain(Err::kNoEntry, "it is not attached any more");
  } else if (entry.content.note != NoteFor(vm->geometry())) {
    adopted = Explain(Err::kNotSupported, "it was laid out differently ({})", entry.content.note);
  } else {
    Outcome<vrpc::ChannelFds> fds = vrpc::ChannelFds::FromList(std::move(entry.content.fds));
    adopted = fds ? keeper_->Adopt(entry.name, std::move(*fds)) : tl::unexpected(fds.error());
  }
  if (adopted) {
    spdlog::info("the lane of {} goes on", entry.name);
    return;
  }
  spdlog::warn("the lane of {} does not go on: {}", entry.name, adopted.error().message);
  store_.Remove(entry.name);
}

Outcome<std::shared_ptr<Vm>> VmPorts::Make(const VmRequest& request) const {
  const uid_t self = ::geteuid();
  const uid_t uid = request.uid.value_or(self);
  if (uid == static_cast<uid_t>(-1)) return Explain(Err::kInvalid, "{} is no user's number", uid);
  if (uid != self && self != 0)
    return Explain(Err::kPerm, "only a server that runs as root gives a lane to another user");
  vrpc::Geometry geometry;
  geometry.lanes = request.lanes.value_or(kDefaultLanes);
  geometry.queues = request.queues.value_or(kDefaultQueues);
  if (request.payload_bytes) geometry.payload_bytes = *request.payload_bytes;
  if (!geometry.Valid())
    return Explain(Err::kInvalid,
                   "no device has {} lanes of {} queues with payloads of {} bytes: lanes x (queues "
                   "+ 1) is at most {}, a payload is {} to {} bytes in whole pages",
                   geometry.lanes, geometry.queues, geometry.payload_bytes, vrpc::kVectorsMax,
                   vrpc::kPayloadBytesMin, vrpc::kPayloadBytesMax);
  return std::make_shared<Vm>(request.vm, uid, geometry);
}

Outcome<std::vector<Vm::Volume>> VmPorts::WithVolumes(const Vm& vm,
                                                      const std::vector<std::string>& names) {
  std::vector<Vm::Volume> volumes;
  std::set<VolumeId> there;
  for (const fs::VolumeInfo& volume : host_.List()) there.insert(volume.id);
  for (Vm::Volume& volume : vm.volumes())
    if (there.contains(volume.id)) volumes.push_back(std::move(volume));
  for (const std::string& name : names) {
    PRISM_ASSIGN(const fs::VolumeInfo volume, host_.Show(name));
    if (volume.importing) return Explain(Err::kBusy, "{} is still being imported", name);
    // Attached anew, it is known by its new name.
    std::erase_if(volumes, [&](const Vm::Volume& known) { return known.id == volume.id; });
    volumes.push_back({volume.id, name});
  }
  if (volumes.size() > kVmVolumesMax)
    return Explain(Err::kNoSpace, "at most {} volumes can be attached to one machine",
                   kVmVolumesMax);
  return volumes;
}

Outcome<void> VmPorts::OpenPort(const std::shared_ptr<Vm>& vm) {
  PRISM_ASSIGN(const std::string path, VmSocketPath(directory_, vm->name()));
  PRISM_TRY(TakeVmDirectory(directory_, vm->name()));
  vrpc::PortOptions port;
  port.name = vm->name();
  port.path = path;
  port.uid = vm->uid();
  port.geometry = vm->geometry();
  port.opener = [&host = host_, vm](const vrpc::OpenRequest& request) {
    return vm->Open(host, request);
  };
  port.single = true;
  port.fd_keeper = keeper_.get();
  PRISM_TRY(lanes_.AddPort(std::move(port)));
  Outcome<void> given = GiveVmDirectory(directory_, vm->name(), vm->uid());
  if (!given) lanes_.RemovePort(vm->name());
  return given;
}

void VmPorts::ClosePort(const Vm& vm) {
  lanes_.RemovePort(vm.name());
  RemoveVmDirectory(directory_, vm.name());
}

Outcome<VmInfo> VmPorts::Attach(const VmRequest& request) {
  std::lock_guard changes(change_mutex_);
  if (!IsPlainName(request.vm))
    return Explain(Err::kInvalid,
                   "a machine's name has 1 to {} characters of [A-Za-z0-9._-] and does not begin "
                   "with '.' or '-'",
                   kPlainNameMax);
  std::shared_ptr<Vm> vm = Find(request.vm);
  const bool is_new = vm == nullptr;
  if (is_new) {
    PRISM_ASSIGN(vm, Make(request));
  } else if (request.uid.value_or(vm->uid()) != vm->uid() ||
             request.lanes.value_or(vm->geometry().lanes) != vm->geometry().lanes ||
             request.queues.value_or(vm->geometry().queues) != vm->geometry().queues ||
             request.payload_bytes.value_or(vm->geometry().payload_bytes) !=
                 vm->geometry().payload_bytes) {
    return Explain(Err::kExists, "{} is attached with other settings: detach it first", vm->name());
  }
  PRISM_ASSIGN(std::vector<Vm::Volume> volumes, WithVolumes(*vm, request.volumes));
  if (is_new) {
    std::unique_lock lock(mutex_);
    if (vms_.size() >= kVmsMax)
      return Explain(Err::kNoSpace, "at most {} machines can be attached", kVmsMax);
    vms_[vm->name()] = vm;
    lock.unlock();
    Outcome<void> opened = OpenPort(vm);
    if (opened) opened = Save(*vm, volumes);
    if (!opened) {
      ClosePort(*vm);
      lock.lock();
      vms_.erase(vm->name());
      return tl::unexpected(opened.error());
    }
  } else {
    if (closed_.contains(vm->name())) PRISM_TRY(OpenPort(vm));
    closed_.erase(vm->name());
    PRISM_TRY(Save(*vm, volumes));
  }
  return Describe(*vm, LookAround());
}

Outcome<void> VmPorts::Save(Vm& vm, std::vector<Vm::Volume> volumes) {
  const Vm next(vm.name(), vm.uid(), vm.geometry(), volumes);
  PRISM_TRY(host_.SetSetting(RowKey(vm.name()), next.Row()));
  vm.set_volumes(std::move(volumes));
  return {};
}

Outcome<void> VmPorts::Detach(const std::string& name, const std::vector<std::string>& volumes) {
  std::lock_guard changes(change_mutex_);
  const std::shared_ptr<Vm> vm = Find(name);
  if (!vm) return Explain(Err::kNoEntry, "nothing is attached to {}", name);
  if (!volumes.empty()) return DetachVolumes(*vm, volumes);
  PRISM_TRY(host_.SetSetting(RowKey(name), ""));
  std::set<VolumeId> ids;
  for (const Vm::Volume& volume : vm->volumes()) ids.insert(volume.id);
  vm->set_volumes({});
  ClosePort(*vm);
  closed_.erase(name);
  {
    std::lock_guard lock(mutex_);
    vms_.erase(name);
  }
  return EndSessions(*vm, ids);
}

Outcome<void> VmPorts::DetachVolumes(Vm& vm, const std::vector<std::string>& names) {
  std::vector<Vm::Volume> volumes = vm.volumes();
  std::set<VolumeId> gone;
  for (const std::string& name : names) {
    const Outcome<fs::VolumeInfo> info = host_.Show(name);
    auto found = std::find_if(volumes.begin(), volumes.end(), [&](const Vm::Volume& volume) {
      return info && volume.id == info->id;
    });
    if (found == volumes.end())
      found = std::find_if(volumes.begin(), volumes.end(),
                           [&](const Vm::Volume& volume) { return volume.name == name; });
    if (found == volumes.end())
      return Explain(Err::kNoEntry, "{} is not attached to {}", name, vm.name());
    gone.insert(found->id);
    volumes.erase(found);
  }
  PRISM_TRY(Save(vm, std::move(volumes)));
  return EndSessions(vm, gone);
}

Outcome<void> VmPorts::EndSessions(Vm& vm, const std::set<VolumeId>& volumes) {
  const auto deadline = std::chrono::steady_clock::now() + kEndTimeout;
  for (;;) {
    const std::set<uint64_t> clients = vm.ClientsWith(volumes);
    if (clients.empty()) return {};
    for (const vrpc::LaneInfo& lane : lanes_.Lanes())
      if (lane.port == vm.name() && lane.attached && clients.contains(lane.client))
        lanes_.Drop(lane.id);
    if (std::chrono::steady_clock::now() > deadline)
      return Explain(Err::kTimedOut, "detached from {}, but a call of it still runs", vm.name());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

std::shared_ptr<Vm> VmPorts::Find(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto found = vms_.find(name);
  return found == vms_.end() ? nullptr : found->second;
}

VmPorts::Surroundings VmPorts::LookAround() const {
  Surroundings surroundings;
  for (const fs::VolumeInfo& volume : host_.List()) surroundings.volumes[volume.id] = volume.name;
  for (const vrpc::ConnectionInfo& connection : lanes_.Connections())
    surroundings.peers[connection.port] = connection.pid;
  return surroundings;
}

VmInfo VmPorts::Describe(const Vm& vm, const Surroundings& surroundings) const {
  VmInfo info;
  info.name = vm.name();
  info.uid = vm.uid();
  if (Outcome<std::string> path = VmSocketPath(directory_, vm.name())) info.socket_path = *path;
  info.lanes = vm.geometry().lanes;
  info.queues = vm.geometry().queues;
  info.payload_bytes = vm.geometry().payload_bytes;
  info.vectors = vm.geometry().vectors();
  info.segment_bytes = vrpc::HeaderFor(vm.geometry()).segment_bytes;
  for (const Vm::Volume& volume : vm.volumes())
    if (auto name = surroundings.volumes.find(volume.id); name != surroundings.volumes.end())
      info.volumes.push_back(name->second);
  if (auto peer = surroundings.peers.find(vm.name()); peer != surroundings.peers.end())
    info.pid = peer->second;
  return info;
}

std::vector<VmInfo> VmPorts::List() {
  const Surroundings surroundings = LookAround();
  std::lock_guard lock(mutex_);
  std::vector<VmInfo> infos;
  for (const auto& [name, vm] : vms_) infos.push_back(Describe(*vm, surroundings));
  return infos;
}

}  // namespace prism::server
