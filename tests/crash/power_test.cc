// Power loss: the shim notes every write and every sync of a server under load, and from that log
// the states of the disk that a loss of power could leave are made, opened and judged.
//
// PRISM_CRASH_SEED, PRISM_POWER_IMAGES (per run) make other and longer runs.
#include "tests/crash/power_fixture.h"

namespace prism::crash {
namespace {

TEST_F(PowerTest, NothingSyncedIsLost) {
  const uint64_t seed = FromEnvironment("PRISM_CRASH_SEED", 1);
  const uint64_t images = FromEnvironment("PRISM_POWER_IMAGES", 30);
  const uint64_t stores = FromEnvironment("PRISM_CRASH_STORES", 1);
  for (uint64_t s = 0; s < stores; ++s) {
    SCOPED_TRACE(fmt::format("PRISM_CRASH_SEED={}", seed + s));
    std::filesystem::remove_all(Path("store"));
    ASSERT_NO_FATAL_FAILURE(RecordStore(seed + s, 250));
    PowerDisk disk;
    Replay(disk, made_, ChoosePoints(made_, images / 3));
    Replay(disk, worked_, ChoosePoints(worked_, images));
    for (const std::string& problem : problems_) ADD_FAILURE() << problem;
    if (HasFailure()) return;
  }
  EXPECT_GT(acknowledged_, 0u);
  fmt::print("seed {}: {} images, {} operations had to survive in them\n", seed, images_,
             acknowledged_);
}

// The journal's files are started, used again and removed: the loss comes around those moments.
TEST_F(PowerTest, AJournalThatChangesFiles) {
  rng_.seed(FromEnvironment("PRISM_CRASH_SEED", 5));
  Script make = {{"", {{.kind = OpKind::kVolumeCreate, .path = "a"}}}};
  made_ = Record("run", Path("store"), {}, make);
  ASSERT_TRUE(made_.run.good()) << made_.run.Describe();
  ThreadScript writes{"a", {{.kind = OpKind::kMkdir, .path = "t0", .mode = 0755}}};
  for (uint64_t i = 0; i < 1400; ++i) {
    writes.ops.push_back({.kind = OpKind::kSetXattr,
                          .path = "t0",
                          .other = fmt::format("user.x{}", i % 5),
                          .length = 60000,
                          .tag = 1000 + i});
    if (i % 7 == 0) writes.ops.push_back({.kind = OpKind::kFsync, .path = "t0"});
  }
  worked_ = Record("run", Path("store"), {{"a", {}}}, {writes});
  ASSERT_TRUE(worked_.run.good()) << worked_.run.Describe();
  std::set<size_t> points;
  size_t at = 0, changes = 0;
  for (PowerLogReader reader(worked_.log); reader.Next(); ++at) {
    if (!reader.path().starts_with("journal/")) continue;
    ++changes;
    for (int i = 0; i < 3; ++i) points.insert(at + rng_() % 60);
  }
  EXPECT_GE(changes, 4u);
  PowerDisk disk;
  Replay(disk, made_, {});
  Replay(disk, worked_, points);
  for (const std::string& problem : problems_) ADD_FAILURE() << problem;
  fmt::print("{} images around {} changes of files\n", images_, changes);
}

// The canary: a disk that lies about syncs of any part must be noticed.
class LyingDiskTest : public PowerTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(LyingDiskTest, IsCaught) {
  lie_ = std::string("sync") + GetParam();
  problems_max_ = 0;
  ASSERT_NO_FATAL_FAILURE(RecordStore(9, 150));
  PowerDisk disk;
  Replay(disk, made_, {});
  Replay(disk, worked_, ChoosePoints(worked_, 40));
  EXPECT_FALSE(problems_.empty());
  if (!problems_.empty()) fmt::print("after {} images: {:.300}\n", images_, problems_.front());
}

INSTANTIATE_TEST_SUITE_P(Parts, LyingDiskTest,
                         ::testing::Values("/journal/", "/segments/", "/db/"));

}  // namespace
}  // namespace prism::crash
