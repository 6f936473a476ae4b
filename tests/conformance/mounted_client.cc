#include "tests/conformance/mounted_client.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "fs/base/check.h"
#include "tests/support/result.h"

namespace prism::conformance {

using mount::CountingFileSystem;
using mount::MountSession;

MountedClient::MountedClient(const std::string& directory, std::shared_ptr<fs::FileSystem> lane,
                             std::string_view volume)
    : lane_(std::make_shared<CountingFileSystem>(std::move(lane))) {
  PRISM_CHECK(mkdir(directory.c_str(), 0755) == 0);
  session_ = test::Must(
      MountSession::Start(lane_, {.directory = directory, .volume = std::string(volume)}));
  PRISM_CHECK(session_ != nullptr);
  mounted_ = std::make_unique<MountedFileSystem>(directory,
                                                 [this](InodeId ino) { return AwaitRelease(ino); });
}

MountedClient::~MountedClient() {
  mounted_.reset();
  auto unmounted = session_->Unmount();
  EXPECT_TRUE(unmounted) << unmounted.error().message;
  EXPECT_TRUE(session_->WaitEnded(std::chrono::seconds(10)));
  std::string directory = session_->directory();
  session_.reset();
  EXPECT_EQ(rmdir(directory.c_str()), 0);
}

bool MountedClient::AwaitRelease(InodeId ino) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!lane_->Released(ino)) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

void RaiseDescriptorLimit() {
  rlimit limit = {};
  PRISM_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
  rlimit more = limit;
  more.rlim_cur = more.rlim_max = std::max<rlim_t>(limit.rlim_max, 65536);
  if (setrlimit(RLIMIT_NOFILE, &more) == 0) return;
  limit.rlim_cur = limit.rlim_max;  // who may not have more has what there is
  PRISM_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

bool CanThroughMount(Feature feature) {
  switch (feature) {
    case Feature::kAnyTime:
    case Feature::kAppend:
    case Feature::kInodeByNumber:
    case Feature::kKillPrivileges:
    case Feature::kLongTargets:
    case Feature::kManyGroups:
    case Feature::kOrphans:
    case Feature::kRangeOps:
    case Feature::kRenameFlags:
    case Feature::kUncheckedCallers:
    case Feature::kXattrs:
      return true;
    default:
      return false;
  }
}

}  // namespace prism::conformance
