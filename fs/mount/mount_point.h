// The system's table of mounts, and the bond between a mount point and the process that serves it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"

namespace prism::mount {

inline constexpr std::string_view kFuseSubtype = "prism";  // "fuse.prism" in the table
inline constexpr std::string_view kMountType = "fuse.prism";

struct MountPoint {
  std::string device;  // "0:57": unique as long as the mount lives
  std::string path;
  std::string type;
  std::string source;
};

// One line of /proc/self/mountinfo (proc(5)); nothing if it is not one.
std::optional<MountPoint> ParseMountInfo(std::string_view line);
// Mounts of this process's namespace, later ones cover earlier ones.
Outcome<std::vector<MountPoint>> ListMounts();
// The mount on top at exactly this path, if there is one.
Outcome<std::optional<MountPoint>> FindMount(const std::string& path);

// Absolute, without symlinks; also where the mount at its end is dead and cannot be asked.
Outcome<std::string> ResolveDirectory(const std::string& directory);

// A listening socket in the abstract namespace, named after the mount's device: it says which
// process serves the mount, leaves no file behind, and is gone exactly when the process is.
class Presence {
 public:
  // kBusy: somebody else has the name.
  static Outcome<Presence> Announce(const std::string& device);
  Presence() = default;
  Presence(Presence&& other) noexcept;
  Presence& operator=(Presence&& other) noexcept;
  ~Presence();

 private:
  explicit Presence(int fd) : fd_(fd) {}
  int fd_ = -1;
};

// The process that announced itself for a device, from the other side.
class ServingProcess {
 public:
  // Nothing: no process (of our user or root's) serves it.
  static std::optional<ServingProcess> Find(const std::string& device);
  ServingProcess(ServingProcess&& other) noexcept;
  ServingProcess& operator=(ServingProcess&&) = delete;
  ~ServingProcess();

  // Waits until it has ended. False: it lives on after timeout_ms.
  bool WaitGone(int timeout_ms) const;
  pid_t pid() const { return pid_; }

 private:
  ServingProcess(int fd, pid_t pid) : fd_(fd), pid_(pid) {}
  int fd_;  // a pidfd, or a connection that hangs up with the process
  pid_t pid_;
};

}  // namespace prism::mount
