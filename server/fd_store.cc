#include "server/fd_store.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

namespace prism::server {
namespace {

// A process that merely inherited $NOTIFY_SOCKET has no store there.
bool SystemdStartedThis() {
  const char* pid = std::getenv("SYSTEMD_EXEC_PID");
  return std::getenv("NOTIFY_SOCKET") && pid && pid == std::to_string(getpid());
}

}  // namespace

std::unique_ptr<FdStore> OpenFdStore(const std::string& control_path) {
  if (SystemdStartedThis()) return OpenSystemdFdStore();
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  // The holder works in another directory.
  return OpenHolderFdStore(std::filesystem::absolute(control_path, error).string() + ".holder",
                           self.parent_path() / "prismd-holder");
}

}  // namespace prism::server
