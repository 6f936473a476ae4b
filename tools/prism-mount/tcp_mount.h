// The way to a volume where there is no lane: the kernel's own NFS client, over TCP.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/failure.h"

namespace prism::guest {

struct TcpMountOptions {
  std::string server;  // "10.0.2.2:2049", "[fd00::2]:2049"; empty: see ServerOfCommandLine
  std::string volume;
  std::string directory;
  bool read_only = false;
  bool share_locks = true;  // with NLM, which needs rpcbind and rpc.statd in this machine
};

// What "prism.server=" on a kernel's command line says; empty: nothing.
std::string ServerOfCommandLine(std::string_view command_line);

// The data of mount(2) for a server. kInvalid: it is not ADDR:PORT; names are not looked up.
struct NfsSource {
  std::string source;   // "10.0.2.2:/vm-1"
  std::string options;  // "vers=3,..."
};
Outcome<NfsSource> NfsSourceOf(const TcpMountOptions& options);

// Mounts; the kernel serves it from then on. Waits (hard) for a server that is away.
Outcome<void> MountByTcp(const TcpMountOptions& options);

// Unmounts what MountByTcp has mounted. kInvalid: it is not that.
Outcome<void> UnmountTcp(const std::string& directory);
bool IsTcpMount(const std::string& directory);

}  // namespace prism::guest
