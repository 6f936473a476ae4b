// Virtual machines that are attached to volumes: each has a port of its own, through which it
// reaches these volumes and no others, whatever it says.
//
// What is attached is kept in the store (rows "vm/NAME"), so that it holds until it is detached.
// A volume is attached by its id: it stays attached when it is renamed, and the machine goes on to
// find it by the name it was attached by, which may stand in its configuration.
#pragma once

#include <sys/types.h>

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fs/core/host.h"
#include "server/fd_store.h"
#include "server/vm.h"
#include "vrpc/server.h"

namespace prism::server {

inline constexpr size_t kVmsMax = 4096;  // each takes a socket, and a channel once it runs

struct VmRequest {
  std::string vm;
  std::vector<std::string> volumes;
  // Of a machine that is new; absent: the defaults. Those of one that is there do not change.
  std::optional<uid_t> uid;  // whose VMM; by default the server's own user
  std::optional<uint32_t> lanes, queues, payload_bytes;
};

struct VmInfo {
  std::string name;
  uid_t uid = 0;
  std::string socket_path;
  uint32_t lanes = 0;
  uint32_t queues = 0;  // of each lane
  uint32_t payload_bytes = 0;
  uint32_t vectors = 0;        // of its device
  uint64_t segment_bytes = 0;  // of its device's memory
  std::vector<std::string> volumes;
  pid_t pid = 0;  // of the process that is connected; 0: none
};

// THREADS: any.
class VmPorts {
 public:
  // directory: where the machines' directories are made. Everything outlives this object.
  VmPorts(fs::Host& host, vrpc::Server& lanes, FdStore& store, std::string directory);
  ~VmPorts();  // stops `lanes`
  VmPorts(const VmPorts&) = delete;
  VmPorts& operator=(const VmPorts&) = delete;

  // Opens the ports of all machines in the store, and goes on with the channels that an earlier
  // server had. What cannot be opened is in the log, and closed.
  Outcome<void> Restore();

  // Durable when it returns, and all or nothing. kInvalid (names, geometry), kNoEntry and kBusy
  // (volumes), kExists (the machine is there with other settings), kPerm (the user).
  Outcome<VmInfo> Attach(const VmRequest& request);
  // These volumes, or, if none is named, the machine with its port. When it returns, what was
  // detached is out of reach; kTimedOut: but for calls that still run. kNoEntry: it is not there.
  Outcome<void> Detach(const std::string& vm, const std::vector<std::string>& volumes);

  std::vector<VmInfo> List();

 private:
  class Keeper;

  Outcome<std::shared_ptr<Vm>> Make(const VmRequest& request) const;
  Outcome<std::vector<Vm::Volume>> WithVolumes(const Vm& vm, const std::vector<std::string>& names);
  Outcome<void> OpenPort(const std::shared_ptr<Vm>& vm);
  void ClosePort(const Vm& vm);
  void Adopt(FdStore::Entry entry);
  Outcome<void> Save(Vm& vm, std::vector<Vm::Volume> volumes);
  Outcome<void> DetachVolumes(Vm& vm, const std::vector<std::string>& names);
  Outcome<void> EndSessions(Vm& vm, const std::set<VolumeId>& volumes);
  std::shared_ptr<Vm> Find(const std::string& name);
  // What describing takes, got once for all machines.
  struct Surroundings {
    std::map<VolumeId, std::string> volumes;  // names
    std::map<std::string, pid_t> peers;       // by port
  };
  Surroundings LookAround() const;
  VmInfo Describe(const Vm& vm, const Surroundings& surroundings) const;

  fs::Host& host_;
  vrpc::Server& lanes_;
  FdStore& store_;
  const std::string directory_;
  std::unique_ptr<Keeper> keeper_;

  std::mutex change_mutex_;       // one change at a time; before mutex_
  std::set<std::string> closed_;  // guarded by change_mutex_: whose port could not be opened
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Vm>, std::less<>> vms_;  // guarded by mutex_
};

}  // namespace prism::server
