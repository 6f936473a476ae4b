// The server's NFS front end, in this process, and libnfs as its client.
#include "fs/base/check.h"
#include "server/nfs_service.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/nfs_file_system.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::conformance {
namespace {

class NfsDriver : public Driver {
 public:
  NfsDriver() {
    fs::HostOptions options;
    options.directory = directory_.Path("store");
    options.node_cache_bytes = options.chunk_cache_bytes = uint64_t{32} << 20;
    host_ = test::Must(fs::Host::Open(options));
    PRISM_CHECK(host_ != nullptr);
    test::Must(host_->Create(kVolume, false));
    exports_ = std::make_unique<nfs3::Exports>(*host_);
    server::NfsOptions nfs_options;
    nfs_options.listen = "127.0.0.1:0";
    nfs_options.workers = 2;
    service_ = test::Must(server::NfsService::Start(*host_, *exports_, nfs_options));
    PRISM_CHECK(service_ != nullptr);
  }

  fs::Host& host() override { return *host_; }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    const uint16_t port = service_->address().port;
    std::string root = test::Must(test::MountExport(port, "/" + std::string(volume)));
    auto client = test::Must(test::RpcClient::Connect(port, NFS_PROGRAM, NFS_V3));
    PRISM_CHECK(client != nullptr);
    return std::make_shared<NfsFileSystem>(std::move(client), std::move(root));
  }
  bool Can(Feature feature) const override;

 private:
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::unique_ptr<nfs3::Exports> exports_;
  std::unique_ptr<server::NfsService> service_;
};

bool NfsDriver::Can(Feature feature) const {
  switch (feature) {
    case Feature::kAnyOffset:
    case Feature::kBoundedIo:
    case Feature::kDataOfAnyType:
    case Feature::kDataWithoutOpen:
    case Feature::kGuardedSetattr:
    case Feature::kHost:
    case Feature::kQuota:
    case Feature::kSymlinkMode:
    case Feature::kUncached:
    case Feature::kUncheckedErrors:
    case Feature::kVerifier:
      return true;
    default:
      return false;
  }
}

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<NfsDriver>(); }

}  // namespace prism::conformance
