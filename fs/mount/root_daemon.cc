#include "fs/mount/root_daemon.h"

#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>

namespace prism::mount {

void BecomeRootDaemon(char* argv0) {
  argv0[0] = '@';
  std::ofstream("/proc/self/oom_score_adj") << -1000;
  prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
}

void RefreshWhatSystemdAsks() {
  // From our root, which the one that we serve covers, the way up leads to what covers it.
  struct stat status {};
  [[maybe_unused]] int ignored = ::stat("/..", &status);
  ignored = ::access("/../etc/initrd-release", F_OK);
}

}  // namespace prism::mount
