// Mounts of a VRPC client over the engine: all that is between a process in a VM and the store.
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "fs/base/check.h"
#include "fs/mount/mount_session.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/mounted_file_system.h"
#include "tests/mount/counting_file_system.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"
#include "vrpc/client.h"
#include "vrpc/server.h"

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
    PRISM_CHECK(chmod(directory_.path().c_str(), 0755) == 0);  // others enter the mounts
    fs::HostOptions host_options;
    host_options.directory = directory_.Path("store");
    host_options.node_cache_bytes = host_options.chunk_cache_bytes = uint64_t{32} << 20;
    host_ = test::Must(fs::Host::Open(host_options));
    PRISM_CHECK(host_ != nullptr);
    test::Must(host_->Create(kVolume, false));

    vrpc::ServerOptions server_options;
    server_options.workers = server_options.queues = 2;
    auto open = [this](std::string_view volume, bool importing) {
      return host_->Attach(volume, importing);
    };
    server_ = test::Must(vrpc::Server::Listen(directory_.Path("lane"), open, server_options));
    PRISM_CHECK(server_ != nullptr);
  }
  ~MountDriver() override { server_->Stop(); }

  fs::Host& host() override { return *host_; }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    auto client = std::make_shared<MountedClient>(
        directory_.Path("mount-" + std::to_string(++mounts_)), directory_.Path("lane"), volume);
    return {client, &client->file_system()};
  }
  bool Can(Feature feature) const override;

 private:
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::unique_ptr<vrpc::Server> server_;
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
