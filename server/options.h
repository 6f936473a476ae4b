// prismd's command line.
#pragma once

#include <optional>
#include <string>

#include "fs/core/host.h"
#include "server/nfs_service.h"

namespace prism::server {

struct Options {
  fs::HostOptions host{.resume_grace_ms = 15000};
  std::string control_path = "/run/prism/control.sock";
  std::string vm_directory;  // of the sockets for machines; empty: "vms" beside the control socket
  NfsOptions nfs;            // listen empty: no NFS
  std::string log_level = "info";
  unsigned workers = 8;  // threads that serve lanes
};

// Nothing: the process is to end with exit_code (help was shown, or the usage was wrong).
std::optional<Options> ParseOptions(int argc, const char* const* argv, int& exit_code);

}  // namespace prism::server
