// Quotas of composed volumes: hard from the first moment, though nobody has counted their files.
#include "tests/compose/fixture.h"
#include "tests/support/noise.h"

namespace prism::compose {
namespace {

using test::Noise;

class ComposeQuota : public Compose {
 protected:
  // How many of these files could be written, until the quota is met.
  int Fill(const std::string& volume, size_t size, int max) {
    Tree tree = Attach(volume);
    for (int i = 0; i < max; ++i) {
      fs::CreateArgs create;
      create.parent = kRootInode;
      create.name = "filling" + std::to_string(filled_++);
      create.type = FileType::kRegular;
      const auto made = tree.files().Create(kRoot, create);
      EXPECT_TRUE(made || made.error() == Err::kQuota) << NameOf(made.error());
      if (!made) return i;
      fs::WriteArgs write;
      write.ino = made->attr.ino;
      const std::string data = Noise(size, 77u + filled_);
      write.data = std::as_bytes(std::span(data));
      const auto written = tree.files().Write(kRoot, write);
      EXPECT_TRUE(written || written.error() == Err::kQuota) << NameOf(written.error());
      if (!written) return i;
    }
    return max;
  }
  uint64_t filled_ = 0;
};

TEST_F(ComposeQuota, TotalsAreNeverLessThanWhatIsThere) {
  MakeSource("source");
  const fs::VolumeInfo made =
      Must(Make("new", "", {Graft("source", "/a", "/a"), Graft("source", "/deep", "/d")}));
  const fs::VolumeInfo twin = Must(host_->Clone("new", {"twin"})).front();
  for (const auto& [name, before] : {std::pair{"new", made}, {"twin", twin}}) {
    const fs::VolumeInfo counted = Counted(name);
    EXPECT_GE(before.inodes, counted.inodes) << name;
    EXPECT_GE(before.logical_bytes, counted.logical_bytes) << name;
    if (!before.uncounted) continue;
    EXPECT_GT(before.inodes, counted.inodes) << "the source has more than these parts";
  }
}

TEST_F(ComposeQuota, HardBeforeTheFilesAreCounted) {
  Create("base");
  Create("source");
  constexpr uint64_t kQuota = 1'000'000;
  Must(host_->SetQuota("base", {.bytes = kQuota, .inodes = 400}));
  Tree source = Attach("source");
  source.MakeDir("/a");
  for (int i = 0; i < 60; ++i)
    source.Write("/a/f" + std::to_string(i), Noise(10'000, static_cast<uint32_t>(i)));
  source.Detach();
  for (int round = 0; round < 5; ++round) {
    const std::string name = "new" + std::to_string(round);
    Must(Make(name, "base", {Graft("source", "/a", "/a")}));
    const int early = Fill(name, 50'000, 30);
    EXPECT_LE(early, 8) << "600 kB of 1 MB were taken";
    Must(host_->Flush());
    const fs::VolumeInfo counted = Counted(name);
    EXPECT_LE(counted.charged_bytes, kQuota + kQuota / 50) << "and nodes that saving made";
    EXPECT_LE(counted.inodes, 400u);
    const int late = Fill(name, 50'000, 30);
    EXPECT_LT(early + late, 9);
    EXPECT_GE(early + late, 4);
    Tree tree = Attach(name);
    for (int i = 0; i < 60; ++i)
      EXPECT_EQ(tree.Unlink("/a/f" + std::to_string(i)), Err::kOk) << "deleting always works";
    tree.Detach();
    Must(host_->Drain());
    EXPECT_GT(Fill(name, 50'000, 30), 5);
  }
}

TEST_F(ComposeQuota, ExclusiveCountsGraftedBodiesThatAreOverwritten) {
  Create("source");
  Tree source = Attach("source");
  source.MakeDir("/a");
  for (int i = 0; i < 300; ++i) source.Write("/a/f" + std::to_string(i), Noise(2000, 5));
  source.Write("/a/big", Noise(500'000, 6));
  source.Detach();
  Must(Make("new", "", {Graft("source", "/a", "/a")}));
  constexpr uint64_t kQuota = 100'000;
  Must(host_->SetQuota("new", {.bytes = kQuota, .exclusive = true}));
  Tree tree = Attach("new");
  fs::WriteArgs write;
  const std::string data = Noise(2000, 9);
  write.data = std::as_bytes(std::span(data));
  int written = 0;
  for (int i = 0; i < 300; ++i) {
    write.ino = tree.Ino("/a/f" + std::to_string(i));
    const auto done = tree.files().Write(kRoot, write);
    EXPECT_TRUE(done || done.error() == Err::kQuota) << NameOf(done.error());
    written += done.has_value();
  }
  EXPECT_GT(written, 30);
  EXPECT_LT(written, 52);
  write.ino = tree.Ino("/a/big");
  int blocks = 0;
  for (uint64_t at = 0; at < 400'000; at += 20'000) {
    write.offset = at;
    blocks += tree.files().Write(kRoot, write).has_value();
  }
  EXPECT_LE(blocks, 2);
  Must(host_->Flush());
  EXPECT_LE(Must(host_->Show("new")).charged_bytes, kQuota + kQuota / 5) << "and their records";
}

}  // namespace
}  // namespace prism::compose
