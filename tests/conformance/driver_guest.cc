// Mounts in a virtual machine, over the lane of its ivshmem device: what prism-mount is there. The
// server is the host's; it has given this machine the empty volumes "test-1", "test-2" and so on,
// of which each test takes the next.
#include <sys/stat.h>

#include "fs/base/check.h"
#include "tests/conformance/mounted_client.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"
#include "vrpc/device_endpoint.h"
#include "vrpc/resuming_client.h"

namespace prism::conformance {
namespace {

class GuestDriver : public Driver {
 public:
  GuestDriver() {
    static int tests = 0;
    volume_ = "test-" + std::to_string(++tests);
    RaiseDescriptorLimit();
    PRISM_CHECK(chmod(directory_.path().c_str(), 0755) == 0);
  }

  fs::Host& host() override {
    PRISM_CHECK(!"a machine does not reach the store: the test NEEDS(kHost)");
    std::abort();
  }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    PRISM_CHECK(volume == kVolume);
    vrpc::ConnectOptions options;
    options.volume = volume_;
    auto client =
        std::make_shared<MountedClient>(directory_.Path("mount-" + std::to_string(++mounts_)),
                                        test::Must(vrpc::ResumingClient::Connect(
                                            vrpc::DeviceEndpoint::FactoryFor({}), options, {})),
                                        volume_);
    return {client, &client->file_system()};
  }
  bool Can(Feature feature) const override { return CanThroughMount(feature); }

 private:
  test::TempDir directory_;
  std::string volume_;
  int mounts_ = 0;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<GuestDriver>(); }

}  // namespace prism::conformance
