// The engine against the model (random_run.h says what is compared).
//
// random_model_test --seed N --ops N repeats or prolongs a run; PRISM_SEED and PRISM_OPS do the
// same.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/model/random_run.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::model {
namespace {

uint64_t seed_wanted = 0;  // 0: the test's own
uint64_t ops_wanted = 3000;

class RandomModelTest : public ::testing::Test {
 protected:
  void Run(uint64_t seed, bool reopen, bool checkpoints, fs::HostOptions host_options = {}) {
    RunOptions options;
    options.seed = seed_wanted != 0 ? seed_wanted : seed;
    options.ops = ops_wanted;
    options.reopen = reopen;
    options.checkpoints = checkpoints;
    std::printf("seed %lu, %lu operations\n", options.seed, options.ops);
    test::TempDir directory;
    host_options.directory = directory.Path("store");
    OpenHost open = [&]() -> std::unique_ptr<fs::Host> {
      return test::Must(fs::Host::Open(host_options));
    };
    std::string difference = RunRandom(options, open);
    EXPECT_TRUE(difference.empty()) << difference;
  }
};

TEST_F(RandomModelTest, RepliesAndTreesAreAlike) { Run(11, false, false); }

TEST_F(RandomModelTest, AlsoWhenTheStoreIsClosedAndOpened) { Run(12, true, false); }

TEST_F(RandomModelTest, AlsoWithCheckpointsAtAnyMoment) { Run(13, false, true); }

TEST_F(RandomModelTest, AlsoWithAllOfThatAndTinyCaches) {
  fs::HostOptions options;
  options.node_cache_bytes = options.chunk_cache_bytes = options.dirty_bytes_max = 1 << 20;
  options.flush_interval_ms = 10;
  options.checkpoint_interval_ms = 30;
  options.compression = fs::Compression::kZstd;
  Run(14, true, true, options);
}

}  // namespace
}  // namespace prism::model

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  auto take = [&](const char* variable, std::string_view flag, uint64_t& value) {
    if (const char* text = std::getenv(variable)) value = std::strtoull(text, nullptr, 0);
    for (int i = 1; i + 1 < argc; ++i)
      if (argv[i] == flag) value = std::strtoull(argv[i + 1], nullptr, 0);
  };
  take("PRISM_SEED", "--seed", prism::model::seed_wanted);
  take("PRISM_OPS", "--ops", prism::model::ops_wanted);
  return RUN_ALL_TESTS();
}
