// `prism mount` and `prism umount`: the life of a process that serves one mounted volume.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"
#include "vrpc/endpoint.h"

namespace prism::mount {

struct MountOptions {
  std::string lane_path;  // the server's socket for handshakes
  std::string volume;
  std::string directory;
  bool foreground = false;  // serve in this process, until unmounted
  bool read_only = false;
  bool allow_other = true;  // needs root
  bool share_locks = true;  // see SessionOptions
  bool snapshots = false;   // the root has a directory .snapshot, which no listing shows
  bool is_root = false;     // to become the root file system: see root_daemon.h
  unsigned threads = 2;
  uint32_t connect_timeout_ms = 10'000;
  uint64_t patience_ms = 60'000;  // how long to wait for a server that has gone; 0: not at all
  std::string log_path;           // of the background process; empty: syslog
};

// Gives the file system to mount. `on_disconnect` may be called once, from any thread, when it has
// become useless, with the reason.
using DisconnectHandler = std::function<void(const std::string& reason)>;
using Connector =
    std::function<Outcome<std::shared_ptr<fs::FileSystem>>(DisconnectHandler on_disconnect)>;

// Connects to the server, mounts, and serves until unmounted, until SIGTERM, SIGINT or SIGHUP
// (which unmount), or until the server has been gone for longer than patience_ms (then the mount is
// taken away, and this is a failure). A server that comes back before is served on with: see
// vrpc/resuming_client.h.
//
// Not in the foreground: forks first. The parent returns when the mount is live, or with the reason
// why it is not; the child never returns: it ends with status 0 or 1.
// REQUIRES: the process has no other threads; the signals' handling is ours from here on.
Outcome<void> RunMount(const MountOptions& options);

// The same over another way to the server than options.lane_path. The maker is called in the
// process that serves.
using EndpointsMaker = std::function<vrpc::EndpointFactory()>;
Outcome<void> RunMountOverLane(const MountOptions& options, const EndpointsMaker& endpoints);

// The same over any file system. The connector is called in the process that serves.
Outcome<void> RunMountOver(const MountOptions& options, const Connector& connect);

// Unmounts what is mounted at `directory` and waits until the process that served it has ended, so
// that everything written is on the server's disk and the lane is free. A mount whose process has
// died is taken away too.
// kInvalid: nothing, or something that is not Prism's, is mounted there; kBusy: in use; kTimedOut:
// unmounted, but the process lives on after timeout_ms.
Outcome<void> Unmount(const std::string& directory, int timeout_ms);

}  // namespace prism::mount
