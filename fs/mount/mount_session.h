// One mounted volume inside this process: a file system on one end, the kernel on the other.
//
// The `prism mount` process is one of these around a VRPC client (mount.h); tests mount the model
// or the engine with it.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"

namespace prism::mount {

struct SessionOptions {
  std::string directory;  // exists; what is mounted covers it
  std::string volume;     // shown as the source: "prism:VOLUME"
  bool read_only = false;
  bool allow_other = true;  // other users than the mounter's may enter
  // fcntl and flock locks are the volume's, seen by all its clients. Otherwise they hold among this
  // mount's processes only, and opening and closing files costs nothing.
  bool share_locks = true;
  bool is_root = false;  // becomes the root file system: see root_daemon.h
  unsigned threads = 2;  // 1..kThreadsMax
  static constexpr unsigned kThreadsMax = 64;
  double entry_timeout_s = 0;  // how long the kernel believes in a name; 0: as long as is safe
};

class MountSession {
 public:
  // Mounts, and returns when the kernel has agreed on the protocol and requests are being served.
  // kInvalid: not a directory, bad options; kPerm: not allowed to mount.
  static Outcome<std::unique_ptr<MountSession>> Start(std::shared_ptr<fs::FileSystem> file_system,
                                                      const SessionOptions& options);

  // Unmounts by force if it is still mounted, and waits for the threads.
  virtual ~MountSession() = default;

  // Detaches the mount if nothing uses it. kBusy: files are open in it, or something is mounted
  // below.
  virtual Outcome<void> Unmount() = 0;
  // Takes it out of the tree now; it ends when the last user has gone.
  virtual Outcome<void> Detach() = 0;
  // The file system is gone: everything that is asked or waiting fails, and the mount goes; where
  // another mount covers it, it stays behind, dead.
  virtual void Abort() = 0;

  // Readable (poll) once the kernel has let go of the mount and no request is in service.
  virtual int ended_fd() const = 0;
  // False: it still lives.
  virtual bool WaitEnded(std::chrono::milliseconds timeout) const = 0;

  // The mount's device as the system's table writes it: "0:57".
  virtual const std::string& device() const = 0;
  // Absolute.
  virtual const std::string& directory() const = 0;
  // Inodes that the kernel knows, for tests of what is forgotten.
  virtual size_t known_inodes() const = 0;
};

}  // namespace prism::mount
