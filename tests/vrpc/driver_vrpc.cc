// The conformance suite through a lane: the reference model behind a server, every file system of
// the suite a client.
#include "tests/conformance/driver.h"
#include "tests/model/model_host.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"
#include "vrpc/client.h"
#include "vrpc/server.h"

namespace prism::conformance {
namespace {

class VrpcDriver : public Driver {
 public:
  VrpcDriver() {
    test::Must(host_.Create(kVolume, false));
    server_ =
        test::Must(vrpc::Server::Listen(path_, [this](std::string_view volume, bool importing) {
          return host_.Attach(volume, importing);
        }));
  }
  fs::Host& host() override { return host_; }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    return test::Must(vrpc::Client::Connect(path_, {.volume = std::string(volume)}));
  }

 private:
  test::TempDir directory_;
  const std::string path_ = directory_.Path("lane");
  model::ModelHost host_;
  std::unique_ptr<vrpc::Server> server_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<VrpcDriver>(); }

}  // namespace prism::conformance
