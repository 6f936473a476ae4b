// A VRPC server and its clients in one process, over the engine.
#include "fs/base/check.h"
#include "tests/conformance/driver.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"
#include "vrpc/client.h"
#include "vrpc/server.h"

namespace prism::conformance {
namespace {

class VrpcDriver : public Driver {
 public:
  VrpcDriver() {
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
  ~VrpcDriver() override { server_->Stop(); }

  fs::Host& host() override { return *host_; }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    vrpc::ConnectOptions options;
    options.volume = volume;
    return test::Must(vrpc::Client::Connect(directory_.Path("lane"), options));
  }

 private:
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::unique_ptr<vrpc::Server> server_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<VrpcDriver>(); }

}  // namespace prism::conformance
