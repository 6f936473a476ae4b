// Sealed volumes, as their clients see them: those that were there before, too.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class SealedTest : public Conformance {
 protected:
  void SetUp() override { NEEDS(kHost); }
  void Seal() {
    auto nothing = [](FileSystem&) -> Outcome<void> { return {}; };
    EXPECT_TRUE(Must(driver_->host().Seal(kVolume, {nothing, ""})).sealed);
  }
};

TEST_F(SealedTest, EveryChangeIsRefusedFromThenOn) {
  InodeId dir = MakeDir(kRootInode, "d", 0777);
  InodeId file = MakeFile(kRootInode, "f", "data", 0666);
  Must(fs_->Sync(kKernel));
  Seal();
  CreateArgs create;
  create.parent = dir;
  create.name = "new";
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, create)), Err::kReadOnly);
  SetAttr changes;
  changes.mode = 0600;
  EXPECT_EQ(ErrOf(fs_->Setattr(kKernel, file, changes)), Err::kReadOnly);
  EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, kRootInode, "f")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, "d")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, file, dir, "l")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, "f", dir, "g", 0)), Err::kReadOnly);
  EXPECT_EQ(WriteErr(kKernel, file, 0, "x"), Err::kReadOnly);
  EXPECT_EQ(ReadAll(file), "data");
  Must(fs_->Sync(kKernel));
  EXPECT_EQ(ErrOf(driver_->host().Rollback("under-test@none")), Err::kNoEntry);

  Must(driver_->host().Clone(kVolume, {"clone"}));
  auto clone = driver_->Attach("clone");
  InodeId there = Must(clone->Lookup(kKernel, kRootInode, "f")).attr.ino;
  fs::WriteArgs write;
  write.ino = there;
  write.data = AsBytes("x");
  EXPECT_EQ(ErrOf(clone->Write(kKernel, write)), Err::kOk);
  EXPECT_FALSE(Must(driver_->host().Show("clone")).sealed);
}

TEST_F(SealedTest, WhatWasWrittenBeforeIsInIt) {
  InodeId file = MakeFile(kRootInode, "f", "");
  WriteAt(file, 0, Pattern(300000));
  std::string seen;
  auto look = [&](FileSystem& cut) -> Outcome<void> {
    seen.resize(300000);
    auto buffer = std::as_writable_bytes(std::span(seen));
    EXPECT_EQ(Must(cut.Read(kKernel, file, 0, buffer)).length, seen.size());
    return {};
  };
  Must(driver_->host().Seal(kVolume, {look, ""}));
  EXPECT_TRUE(seen == Pattern(300000));
  EXPECT_TRUE(ReadAll(file) == Pattern(300000));
}

TEST_F(SealedTest, WhoeverObjectsKeepsItAsItWas) {
  auto objects = [](FileSystem&) -> Outcome<void> { return Explain(Err::kPerm, "no"); };
  EXPECT_EQ(ErrOf(driver_->host().Seal(kVolume, {objects, ""})), Err::kPerm);
  MakeFile(kRootInode, "f", "data");
  Must(driver_->host().Snapshot({"under-test@s"}, 0));
  EXPECT_EQ(ErrOf(driver_->host().Seal("under-test@s", {objects, ""})), Err::kInvalid);
  EXPECT_EQ(ErrOf(driver_->host().Inspect("under-test@s", {objects, ""})), Err::kPerm);
}

}  // namespace
}  // namespace prism::conformance
