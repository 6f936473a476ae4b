// The engine on a temporary directory, with a VRPC server: what mounts and VRPC clients speak to.
#pragma once

#include <unistd.h>

#include <memory>
#include <string>

#include "fs/base/check.h"
#include "tests/conformance/driver.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"
#include "vrpc/server.h"

namespace prism::conformance {

class LaneServer {
 public:
  LaneServer() {
    fs::HostOptions host_options;
    host_options.directory = directory_.Path("store");
    host_options.node_cache_bytes = host_options.chunk_cache_bytes = uint64_t{32} << 20;
    host_ = test::Must(fs::Host::Open(host_options));
    PRISM_CHECK(host_ != nullptr);
    test::Must(host_->Create(kVolume, false));

    vrpc::ServerOptions server_options;
    server_options.workers = 2;
    server_ = test::Must(vrpc::Server::Start(server_options));
    PRISM_CHECK(server_ != nullptr);
    auto open = [this](const vrpc::OpenRequest& request) {
      return host_->Attach(request.volume, request.importing);
    };
    PRISM_CHECK(server_->AddPort({.name = "lane",
                                  .path = lane(),
                                  .uid = ::geteuid(),
                                  .geometry = {.queues = 2},
                                  .opener = open}));
  }
  ~LaneServer() { server_->Stop(); }

  fs::Host& host() { return *host_; }
  std::string lane() const { return directory_.Path("lane"); }
  const test::TempDir& directory() const { return directory_; }

 private:
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::unique_ptr<vrpc::Server> server_;
};

}  // namespace prism::conformance
