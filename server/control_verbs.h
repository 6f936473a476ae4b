// What the control socket understands: one row and one function per verb. PROTOCOL.md describes
// them for those who write clients.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/core/host.h"
#include "server/nfs3/exports.h"
#include "server/vm_ports.h"

namespace prism::server {

inline constexpr size_t kControlLineMax = size_t{1} << 20;  // bytes, with the newline
inline constexpr size_t kControlStringMax = 4096;           // bytes of one string in a request
inline constexpr size_t kControlNamesMax = 10000;           // names in one request

// What all connections work with. The members are for any thread.
struct ControlContext {
  fs::Host& host;
  std::string vrpc_path;                           // told to clients that want to attach
  std::function<nlohmann::json()> describe_lanes;  // an array
  nfs3::Exports* exports = nullptr;                // null: this server keeps no access rules
  std::function<std::optional<rpc::PeerAddress>()> nfs_address;  // of the NFS server, if it runs
  VmPorts* vms = nullptr;  // null: this server attaches no machines
};

// One client. Its imports that were not published are destroyed with it, so that an import that
// dies half way leaves nothing. For one thread.
class ControlSession {
 public:
  explicit ControlSession(ControlContext& context) : context_(context) {}
  ~ControlSession();
  ControlSession(const ControlSession&) = delete;
  ControlSession& operator=(const ControlSession&) = delete;

  // The answer to one line, without newline. Never fails: errors are answers.
  std::string Answer(std::string_view line);

 private:
  friend struct ControlVerbs;

  Outcome<nlohmann::json> Dispatch(std::string_view line);

  ControlContext& context_;
  std::vector<VolumeId> imports_;
};

// {"ok":false,"error":CODE,"message":TEXT}
std::string FailureLine(const Failure& failure);

}  // namespace prism::server
