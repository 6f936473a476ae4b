#include "server/vm_directory.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fs/base/unique_fd.h"

namespace prism::server {
namespace {

constexpr const char* kSocketName = "lane.sock";

std::string PathOf(const std::string& directory, const std::string& vm) {
  return directory + "/" + vm;
}

// The machine's directory itself, whatever its path may lead to in a moment.
Outcome<UniqueFd> OpenVmDirectory(const std::string& directory, const std::string& vm) {
  const std::string path = PathOf(directory, vm);
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return ExplainErrno(errno, "cannot open " + path);
  return fd;
}

}  // namespace

Outcome<std::string> VmSocketPath(const std::string& directory, const std::string& vm) {
  std::string path = PathOf(directory, vm) + "/" + kSocketName;
  if (path.size() >= sizeof sockaddr_un::sun_path)
    return Explain(Err::kNameTooLong,
                   "a socket's path has at most {} bytes, this one would have {}: {} (a shorter "
                   "name, or prismd --vm-directory)",
                   sizeof sockaddr_un::sun_path - 1, path.size(), path);
  return path;
}

Outcome<void> TakeVmDirectory(const std::string& directory, const std::string& vm) {
  // Whoever may enter a machine's directory must get through to it; its names are not listed.
  if (::mkdir(directory.c_str(), 0711) == 0) {
    if (::chmod(directory.c_str(), 0711) != 0)
      return ExplainErrno(errno, "cannot prepare " + directory);
  } else if (errno != EEXIST) {
    return ExplainErrno(errno, "cannot make the directory " + directory);
  }
  const std::string path = PathOf(directory, vm);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return ExplainErrno(errno, "cannot make the directory " + path);
  PRISM_ASSIGN(UniqueFd fd, OpenVmDirectory(directory, vm));
  if (::fchown(fd.get(), ::geteuid(), static_cast<gid_t>(-1)) != 0 || ::fchmod(fd.get(), 0700) != 0)
    return ExplainErrno(errno, "cannot take the directory " + path);
  if (::unlinkat(fd.get(), kSocketName, 0) != 0 && errno != ENOENT)
    return ExplainErrno(errno, fmt::format("cannot remove {}/{}", path, kSocketName));
  return {};
}

Outcome<void> GiveVmDirectory(const std::string& directory, const std::string& vm, uid_t uid) {
  PRISM_ASSIGN(UniqueFd fd, OpenVmDirectory(directory, vm));
  if (::fchown(fd.get(), uid, static_cast<gid_t>(-1)) != 0)
    return ExplainErrno(errno, fmt::format("cannot give {} to uid {}", PathOf(directory, vm), uid));
  return {};
}

void RemoveVmDirectory(const std::string& directory, const std::string& vm) {
  Outcome<void> removed = TakeVmDirectory(directory, vm);
  const std::string path = PathOf(directory, vm);
  if (removed && ::rmdir(path.c_str()) != 0)
    removed = ExplainErrno(errno, "cannot remove the directory " + path);
  if (!removed) spdlog::warn("{}", removed.error().message);
}

}  // namespace prism::server
