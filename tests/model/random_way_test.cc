// The engine against the model, spoken to as the driver of the conformance suite does that this is
// linked with: over NFS, or through mounts (random_way.h). PRISM_SEED and PRISM_OPS repeat or
// prolong a run.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/conformance/driver.h"
#include "tests/model/random_run.h"
#include "tests/support/result.h"

namespace prism::model {
namespace {

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

TEST(RandomWayTest, RepliesAndTreesAreAlike) {
  auto driver = conformance::MakeDriver();
  test::Must(driver->host().Destroy({conformance::kVolume}));
  const bool by_number = driver->Can(conformance::Feature::kInodeByNumber);
  RunOptions options;
  options.seed = FromEnvironment("PRISM_SEED", 21);
  options.ops = FromEnvironment("PRISM_OPS", 2000);
  options.checkpoints = true;
  options.any_number = by_number;
  std::printf("seed %lu, %lu operations\n", options.seed, options.ops);
  const Way way = by_number ? Way::kMount : Way::kNfs;
  const std::string difference =
      RunRandom(options, driver->host(), way,
                [&](const std::string& volume) { return driver->Attach(volume); });
  EXPECT_TRUE(difference.empty()) << difference;
}

}  // namespace
}  // namespace prism::model
