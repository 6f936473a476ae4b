// What an exclusive quota counts after a volume was given another content.
#include "fs/core/store_check.h"
#include "tests/merge/merge_fixture.h"
#include "tests/support/noise.h"

namespace prism::mergetest {
namespace {

using test::ErrOf;
using test::Must;
using test::Noise;

class MergeCharge : public MergeTest {
 protected:
  // Nodes, and what chunks take in whole KiB.
  static constexpr uint64_t kAround = 60'000;

  MergeCharge() {
    Must(host_->Create("base", false));
    MakeDir("base", "/dir");
    for (int i = 0; i < 20; ++i)
      Put("base", "/dir/old" + std::to_string(i), Noise(30'000, static_cast<uint32_t>(i)));
    Must(host_->Snapshot({"base@v1"}, 0));
    Must(host_->Clone("base@v1", {"web"}));
    Must(host_->SetQuota("web", {.bytes = 2'000'000, .exclusive = true}));
  }
  void ChangeWeb() {
    for (int i = 0; i < 10; ++i)
      Put("web", "/dir/mine" + std::to_string(i), Noise(60'000, 100u + i));
    Write("web", "/dir/old3", Noise(30'000, 500));
  }
  void UpgradeBase() {
    for (int i = 0; i < 40; ++i)
      Put("base", "/dir/new" + std::to_string(i), Noise(50'000, 200u + i));
    Write("base", "/dir/old5", Noise(30'000, 600));
    Must(host_->Snapshot({"base@v2"}, 0));
  }
  uint64_t Charged(const std::string& name) {
    Must(host_->Flush());
    return Must(host_->Show(name)).charged_bytes;
  }
  void ExpectAbout(const std::string& name, uint64_t bytes,
                   std::source_location at = std::source_location::current()) {
    const uint64_t charged = Charged(name);
    EXPECT_GE(charged, bytes) << "line " << at.line();
    EXPECT_LE(charged, bytes + kAround) << "line " << at.line();
  }
  void TearDown() override {
    EXPECT_EQ(Must(host_->Check(false)).damage_count, 0u);
    host_.reset();
    const cow::CheckReport report = Must(fs::CheckStore(directory_.Path("store"), true));
    for (const std::string& damage : report.damages) ADD_FAILURE() << damage;
  }
};

TEST_F(MergeCharge, ARebaseKeepsWhatDiffersFromTheNewBase) {
  ChangeWeb();
  ExpectAbout("web", 630'000);
  UpgradeBase();
  Rebase("web", "base@v2");
  ExpectAbout("web", 630'000);
  const fs::VolumeInfo web = Must(host_->Show("web"));
  EXPECT_EQ(web.parent, "base@v2");
  EXPECT_EQ(web.parent_id, Must(host_->Show("base@v2")).id);
  Put("web", "/more", Noise(1'000'000, 7));
  ExpectAbout("web", 1'630'000);
  fs::WriteArgs write;
  write.ino = Find("web", "/more");
  const std::string data = Noise(500'000, 8);
  write.data = std::as_bytes(std::span(data));
  write.offset = 1'000'000;
  EXPECT_EQ(ErrOf(Attach("web")->Write(kAll, write)), Err::kQuota);
  Remove("web", "/more");
  Must(host_->Drain());
  ExpectAbout("web", 630'000);
  Reopen();
  ExpectAbout("web", 630'000);
}

TEST_F(MergeCharge, WhatIsTakenFromTheNewBaseIsNotItsOwn) {
  UpgradeBase();
  Rebase("web", "base@v2");
  ExpectAbout("web", 0);
  ChangeWeb();
  Put("base", "/dir/third", Noise(400'000, 9));
  Must(host_->Snapshot({"base@v3"}, 0));
  Rebase("web", "base@v3");
  ExpectAbout("web", 630'000);
}

TEST_F(MergeCharge, AMergeIntoItGoesOn) {
  ChangeWeb();
  Must(host_->Clone("web", {"child"}));
  Put("child", "/dir/childs", Noise(300'000, 10));
  Remove("child", "/dir/mine0");
  fs::MergeOptions options;
  EXPECT_TRUE(Must(host_->Merge("child", "web", options)).done);
  Must(host_->Drain());  // what was removed
  ExpectAbout("web", 630'000 - 60'000 + 300'000);
  EXPECT_EQ(Must(host_->Show("web")).parent, "base@v1");
}

TEST_F(MergeCharge, GoingBackInOnePlaceDoesNotForgive) {
  ChangeWeb();
  Must(host_->Snapshot({"web@s"}, 0));
  Put("web", "/other", Noise(200'000, 11));
  Write("web", "/dir/mine1", Noise(60'000, 12));
  EXPECT_TRUE(Must(host_->RollbackPath("web@s", "/dir")).done);
  ExpectAbout("web", 830'000);
}

TEST_F(MergeCharge, TheSnapshotThatIsKeptHasItsOwn) {
  ChangeWeb();
  UpgradeBase();
  const fs::MergeReport report = Rebase("web", "base@v2");
  Must(host_->Rollback(report.kept));
  ExpectAbout("web", 630'000);
}

TEST_F(MergeCharge, ComposedVolumesAreRefusedWithWords) {
  fs::ComposeOptions options;
  options.rules = {{fs::ComposeRule::Kind::kGraft, "base", "/dir", "/dir"}};
  options.base = "web";
  Must(host_->Compose("composed", options));
  const auto rebased = host_->Rebase({"composed"}, "base", {});
  ASSERT_EQ(ErrOf(rebased), Err::kNotSupported);
  EXPECT_NE(rebased.error().message.find("\"composed\" is composed"), std::string::npos);
  EXPECT_NE(rebased.error().message.find("Compose it anew"), std::string::npos);
  EXPECT_EQ(ErrOf(host_->Merge("composed", "web", {})), Err::kNotSupported);
}

}  // namespace
}  // namespace prism::mergetest
