// A VRPC server and its clients in one process, over the engine.
#include "tests/conformance/lane_server.h"
#include "vrpc/client.h"

namespace prism::conformance {
namespace {

class VrpcDriver : public Driver {
 public:
  fs::Host& host() override { return server_.host(); }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    vrpc::ConnectOptions options;
    options.volume = volume;
    return test::Must(vrpc::Client::Connect(server_.lane(), options));
  }

 private:
  LaneServer server_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<VrpcDriver>(); }

}  // namespace prism::conformance
