// Mounts of a VRPC client over the engine: all that is between a process in a VM and the store.
#include <sys/stat.h>

#include "fs/base/check.h"
#include "tests/conformance/lane_server.h"
#include "tests/conformance/mounted_client.h"
#include "tests/support/result.h"
#include "vrpc/client.h"

namespace prism::conformance {
namespace {

class MountDriver : public Driver {
 public:
  MountDriver() {
    RaiseDescriptorLimit();
    // Others enter the mounts.
    PRISM_CHECK(chmod(server_.directory().path().c_str(), 0755) == 0);
  }

  fs::Host& host() override { return server_.host(); }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    vrpc::ConnectOptions options;
    options.volume = volume;
    auto client = std::make_shared<MountedClient>(
        server_.directory().Path("mount-" + std::to_string(++mounts_)),
        test::Must(vrpc::Client::Connect(server_.lane(), options)), volume);
    return {client, &client->file_system()};
  }
  bool Can(Feature feature) const override {
    return feature == Feature::kHost || feature == Feature::kQuota || CanThroughMount(feature);
  }

 private:
  LaneServer server_;
  int mounts_ = 0;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<MountDriver>(); }

}  // namespace prism::conformance
