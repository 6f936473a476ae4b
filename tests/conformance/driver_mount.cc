// Mounts of a VRPC client over the engine: all that is between a process in a VM and the store.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "fs/base/check.h"
#include "fs/mount/mount_session.h"
#include "tests/conformance/lane_server.h"
#include "tests/conformance/mounted_file_system.h"
#include "tests/mount/counting_file_system.h"
#include "tests/support/result.h"
#include "vrpc/client.h"

namespace prism::conformance {
namespace {

using mount::CountingFileSystem;
using mount::MountSession;

// One mount, as a client of the suite: the file system that speaks through it, and below it the
// lane, which is watched for releases only.
class MountedClient {
 public:
  MountedClient(const std::string& directory, const std::string& lane, std::string_view volume) {
    vrpc::ConnectOptions options;
    options.volume = volume;
    lane_ = std::make_shared<CountingFileSystem>(test::Must(vrpc::Client::Connect(lane, options)));
    PRISM_CHECK(mkdir(directory.c_str(), 0755) == 0);
    session_ = test::Must(
        MountSession::Start(lane_, {.directory = directory, .volume = std::string(volume)}));
    PRISM_CHECK(session_ != nullptr);
    mounted_ = std::make_unique<MountedFileSystem>(
        directory, [this](InodeId ino) { return AwaitRelease(ino); });
  }
  ~MountedClient() {
    mounted_.reset();
    auto unmounted = session_->Unmount();
    EXPECT_TRUE(unmounted) << unmounted.error().message;
    EXPECT_TRUE(session_->WaitEnded(std::chrono::seconds(10)));
    std::string directory = session_->directory();
    session_.reset();
    EXPECT_EQ(rmdir(directory.c_str()), 0);
  }
  fs::FileSystem& file_system() { return *mounted_; }

 private:
  bool AwaitRelease(InodeId ino) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!lane_->Released(ino)) {
      if (std::chrono::steady_clock::now() > end) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    return true;
  }

  std::shared_ptr<CountingFileSystem> lane_;
  std::unique_ptr<MountSession> session_;
  std::unique_ptr<MountedFileSystem> mounted_;
};

class MountDriver : public Driver {
 public:
  MountDriver() {
    // Every inode that the suite knows is a descriptor.
    rlimit limit = {};
    PRISM_CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
    limit.rlim_cur = limit.rlim_max;
    PRISM_CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    // Others enter the mounts.
    PRISM_CHECK(chmod(server_.directory().path().c_str(), 0755) == 0);
  }

  fs::Host& host() override { return server_.host(); }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    auto client = std::make_shared<MountedClient>(
        server_.directory().Path("mount-" + std::to_string(++mounts_)), server_.lane(), volume);
    return {client, &client->file_system()};
  }
  bool Can(Feature feature) const override;

 private:
  LaneServer server_;
  int mounts_ = 0;
};

bool MountDriver::Can(Feature feature) const {
  switch (feature) {
    case Feature::kAnyTime:
    case Feature::kAppend:
    case Feature::kInodeByNumber:
    case Feature::kKillPrivileges:
    case Feature::kLongTargets:
    case Feature::kManyGroups:
    case Feature::kOrphans:
    case Feature::kQuota:
    case Feature::kRangeOps:
    case Feature::kRenameFlags:
    case Feature::kUncheckedCallers:
    case Feature::kXattrs:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<MountDriver>(); }

}  // namespace prism::conformance
