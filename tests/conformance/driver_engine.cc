// The engine, in process, on a directory of its own.
#include "fs/base/check.h"
#include "tests/conformance/driver.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::conformance {
namespace {

class EngineDriver : public Driver {
 public:
  EngineDriver() {
    fs::HostOptions options;
    options.directory = directory_.Path("store");
    options.node_cache_bytes = options.chunk_cache_bytes = uint64_t{32} << 20;
    host_ = test::Must(fs::Host::Open(options));
    PRISM_CHECK(host_ != nullptr);
    test::Must(host_->Create(kVolume, false));
  }
  fs::Host& host() override { return *host_; }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    return test::Must(host_->Attach(volume, false));
  }

 private:
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<EngineDriver>(); }

}  // namespace prism::conformance
