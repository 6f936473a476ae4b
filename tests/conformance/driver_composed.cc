// The engine, in a directory that was grafted into a composed volume: every claim must hold there.
#include <chrono>
#include <thread>

#include "fs/base/check.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/rooted_file_system.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::conformance {
namespace {

constexpr char kPart[] = "part";

class ComposedDriver : public Driver {
 public:
  ComposedDriver() {
    fs::HostOptions options;
    options.directory = directory_.Path("store");
    options.node_cache_bytes = options.chunk_cache_bytes = uint64_t{32} << 20;
    host_ = test::Must(fs::Host::Open(options));
    PRISM_CHECK(host_ != nullptr);
    test::Must(host_->Create("source", false));
    fs::ComposeRule graft{fs::ComposeRule::Kind::kGraft, "source", "/", std::string("/") + kPart,
                          false};
    test::Must(host_->Compose(kVolume, {{}, {graft}}));
    test::Must(host_->Destroy({"source"}));
    // Its totals are bounds until then.
    while (test::Must(host_->Show(kVolume)).uncounted)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  fs::Host& host() override { return *host_; }
  // Of the volume and its clones; others have no such directory.
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    std::shared_ptr<fs::FileSystem> files = test::Must(host_->Attach(volume, false));
    const auto root = files->Lookup({}, kRootInode, kPart);
    if (!root) return files;
    return std::make_shared<RootedFileSystem>(std::move(files), root->attr.ino);
  }

 private:
  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<ComposedDriver>(); }

}  // namespace prism::conformance
