// The reference model itself: shows that the suite and the oracle agree.
#include "tests/conformance/driver.h"
#include "tests/model/model_host.h"
#include "tests/support/result.h"

namespace prism::conformance {
namespace {

class ModelDriver : public Driver {
 public:
  ModelDriver() { test::Must(host_.Create(kVolume, false)); }
  bool Can(Feature feature) const override { return feature != Feature::kQuota; }
  fs::Host& host() override { return host_; }
  std::shared_ptr<fs::FileSystem> Attach(std::string_view volume) override {
    return test::Must(host_.Attach(volume, false));
  }

 private:
  model::ModelHost host_;
};

}  // namespace

std::unique_ptr<Driver> MakeDriver() { return std::make_unique<ModelDriver>(); }

}  // namespace prism::conformance
