// Statfs, and what clones, destroyed and renamed volumes mean to the file systems on them.
#include <chrono>
#include <thread>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class VolumeTest : public Conformance {
 protected:
  fs::StatfsResult Usage() { return Must(fs_->Statfs(kKernel)); }
  std::shared_ptr<FileSystem> Clone(const std::string& name) {
    Must(driver_->host().Clone(kVolume, {name}));
    return driver_->Attach(name);
  }
  static std::string Read(FileSystem& file_system, InodeId ino) {
    std::string buffer(fs::kIoMax, '\0');
    auto result =
        Must(file_system.Read(kKernel, ino, 0, std::as_writable_bytes(std::span(buffer))));
    return buffer.substr(0, result.length);
  }
  static void Write(FileSystem& file_system, InodeId ino, std::string_view data) {
    fs::WriteArgs args;
    args.ino = ino;
    args.data = AsBytes(data);
    Must(file_system.Write(kKernel, args));
  }
};

TEST_F(VolumeTest, StatfsOfAnEmptyVolume) {
  fs::StatfsResult usage = Usage();
  EXPECT_EQ(usage.files, 1u);
  EXPECT_EQ(usage.used_bytes, 0u);
  EXPECT_GT(usage.free_bytes, 0u);
  EXPECT_GT(usage.free_files, 0u);
  EXPECT_EQ(usage.total_bytes, usage.used_bytes + usage.free_bytes);
}

TEST_F(VolumeTest, UsageGrowsWithFilesAndReturnsWhenAllIsRemoved) {
  for (int round = 0; round < 2; ++round) {
    InodeId dir = MakeDir(kRootInode, "d");
    InodeId big = MakeFile(dir, "big", Pattern(1000000));
    InodeId small = MakeFile(dir, "small", "tiny");
    InodeId link = Must(Create(dir, "link", FileType::kSymlink)).attr.ino;
    if (Can(Feature::kXattrs))
      Must(fs_->Setxattr(kKernel, small, "user.x", Pattern(10000), XattrMode::kSet));
    Must(fs_->Link(kKernel, big, dir, "big2"));
    fs::StatfsResult usage = Usage();
    EXPECT_EQ(usage.files, 5u);
    EXPECT_GE(usage.used_bytes, 1000000u);
    EXPECT_LT(usage.used_bytes, 1200000u);
    WriteAt(big, 0, Pattern(100000, 1));
    EXPECT_EQ(Usage().used_bytes, usage.used_bytes) << "overwriting needs no more";
    for (const char* name : {"big", "big2", "small", "link"}) Must(fs_->Unlink(kKernel, dir, name));
    for (InodeId ino : {big, small, link}) Must(fs_->Release(kKernel, ino));
    Must(fs_->Rmdir(kKernel, kRootInode, "d"));
    Must(fs_->Release(kKernel, dir));
    EXPECT_EQ(Usage().files, 1u);
    EXPECT_EQ(Usage().used_bytes, 0u);
  }
}

TEST_F(VolumeTest, TruncatingAndPunchingGiveBackUsage) {
  NEEDS(kRangeOps);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(1 << 20));
  uint64_t full = Usage().used_bytes;
  Must(fs_->Fallocate(kKernel, ino, FallocateMode::kPunchHole, 0, 1 << 19));
  EXPECT_EQ(Usage().used_bytes, full - (1 << 19));
  EXPECT_EQ(GetAttr(ino).used_bytes, full - (1 << 19));
  Truncate(ino, 1 << 18);
  EXPECT_EQ(Usage().used_bytes, 0u);
  EXPECT_EQ(GetAttr(ino).used_bytes, 0u);
}

TEST_F(VolumeTest, SparseFilesUseOnlyWhatIsWritten) {
  InodeId ino = MakeFile(kRootInode, "f");
  Truncate(ino, uint64_t{1} << 50);
  EXPECT_EQ(GetAttr(ino).used_bytes, 0u);
  WriteAt(ino, uint64_t{1} << 49, Pattern(4096));
  EXPECT_GT(GetAttr(ino).used_bytes, 0u);
  EXPECT_LE(GetAttr(ino).used_bytes, 65536u);
}

TEST_F(VolumeTest, AnOrphanCountsUntilItIsReleased) {
  NEEDS(kOrphans);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(100000));
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(Usage().files, 2u);
  EXPECT_GT(Usage().used_bytes, 0u);
  Must(fs_->Release(kKernel, ino));
  EXPECT_EQ(Usage().files, 1u);
  EXPECT_EQ(Usage().used_bytes, 0u);
}

// A store may put a volume away that nobody uses.
TEST_F(VolumeTest, WhatIsNotWrittenBackYetSurvivesWithoutAnyClient) {
  InodeId shrunk = MakeFile(kRootInode, "shrunk");
  WriteAt(shrunk, 106496, Pattern(5000));
  InodeId written = MakeFile(kRootInode, "written", Pattern(5000));
  Truncate(shrunk, 3803);
  fs_.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  fs_ = driver_->Attach(kVolume);
  EXPECT_EQ(GetAttr(shrunk).size, 3803u);
  EXPECT_EQ(ReadAll(shrunk), std::string(3803, '\0'));
  EXPECT_EQ(ReadAll(written), Pattern(5000));
}

TEST_F(VolumeTest, AShrunkFileSurvivesWithoutAnyClient) {
  InodeId ino = MakeFile(kRootInode, "f");
  WriteAt(ino, 106496, Pattern(5000));
  Truncate(ino, 3803);
  fs_.reset();
  std::this_thread::sleep_for(std::chrono::milliseconds(700));
  fs_ = driver_->Attach(kVolume);
  EXPECT_EQ(GetAttr(ino).size, 3803u);
}

TEST_F(VolumeTest, ACloneHasEverythingThatReturnedBefore) {
  NEEDS(kHost);
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId big = MakeFile(dir, "big", Pattern(300000));
  InodeId small = MakeFile(dir, "small", "tiny");
  if (Can(Feature::kXattrs)) Must(fs_->Setxattr(kKernel, small, "user.x", "v", XattrMode::kSet));
  auto clone = Clone("clone");
  for (InodeId ino : {kRootInode, dir, big, small})
    EXPECT_EQ(Must(clone->Getattr(kKernel, ino)), GetAttr(ino));
  EXPECT_TRUE(Read(*clone, big) == Pattern(300000));
  EXPECT_EQ(Read(*clone, small), "tiny");
  if (Can(Feature::kXattrs)) {
    EXPECT_EQ(Must(clone->Getxattr(kKernel, small, "user.x")), "v");
  }
  EXPECT_EQ(Must(clone->Statfs(kKernel)).files, Usage().files);
  EXPECT_EQ(Must(clone->Statfs(kKernel)).used_bytes, Usage().used_bytes);
}

TEST_F(VolumeTest, ClonesAndTheirSourceAreIndependent) {
  NEEDS(kHost);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(200000));
  auto clone = Clone("clone");
  auto second = Clone("second");
  WriteAt(ino, 0, "source");
  Write(*clone, ino, "clone!");
  MakeFile(kRootInode, "only-source");
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "only-clone";
  Must(clone->Create(kKernel, args));
  Must(second->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(ReadAt(ino, 0, 6), "source");
  EXPECT_EQ(Read(*clone, ino).substr(0, 6), "clone!");
  if (Can(Feature::kOrphans)) {
    EXPECT_TRUE(Read(*second, ino) == Pattern(200000)) << "unlinked, but held";
  }
  EXPECT_FALSE(Exists(kRootInode, "only-clone"));
  EXPECT_EQ(ErrOf(clone->Lookup(kKernel, kRootInode, "only-source")), Err::kNoEntry);
  EXPECT_EQ(ErrOf(second->Lookup(kKernel, kRootInode, "f")), Err::kNoEntry);
  EXPECT_TRUE(Exists(kRootInode, "f"));
}

TEST_F(VolumeTest, ACloneOutlivesItsSource) {
  NEEDS(kHost);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(200000));
  auto clone = Clone("clone");
  Must(driver_->host().Destroy({kVolume}));
  Must(driver_->host().Drain());
  EXPECT_TRUE(Read(*clone, ino) == Pattern(200000));
}

TEST_F(VolumeTest, ChainsOfClonesKeepEachGeneration) {
  NEEDS(kHost);
  InodeId ino = MakeFile(kRootInode, "f", "generation 0");
  std::vector<std::shared_ptr<FileSystem>> chain = {fs_};
  for (int i = 1; i <= 20; ++i) {
    std::string parent = i == 1 ? kVolume : "c" + std::to_string(i - 1);
    Must(driver_->host().Clone(parent, {"c" + std::to_string(i)}));
    chain.push_back(driver_->Attach("c" + std::to_string(i)));
    Write(*chain.back(), ino, "generation " + std::to_string(i));
  }
  for (int i = 0; i <= 20; ++i) EXPECT_EQ(Read(*chain[i], ino), "generation " + std::to_string(i));
}

TEST_F(VolumeTest, ACloneDoesNotHaveTheOrphansOfItsSource) {
  NEEDS(kHost);
  NEEDS(kOrphans);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(100000));
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  auto clone = Clone("clone");
  EXPECT_EQ(ErrOf(clone->Release(kKernel, ino)), Err::kInvalid);
  Must(driver_->host().Drain());
  EXPECT_EQ(ErrOf(clone->Getattr(kKernel, ino)), Err::kStale);
  EXPECT_EQ(Must(clone->Statfs(kKernel)).files, 1u);
  EXPECT_EQ(Must(clone->Statfs(kKernel)).used_bytes, 0u);
  EXPECT_TRUE(ReadAll(ino) == Pattern(100000)) << "the source still has it";
}

TEST_F(VolumeTest, ADestroyedVolumeIsStaleForEveryoneWhoHasIt) {
  NEEDS(kHost);
  NEEDS(kUncached);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  auto other = driver_->Attach(kVolume);
  Must(driver_->host().Destroy({kVolume}));
  std::byte buffer[4];
  for (auto& client : {fs_, other}) {
    EXPECT_EQ(ErrOf(client->Getattr(kKernel, kRootInode)), Err::kStale);
    EXPECT_EQ(ErrOf(client->Lookup(kKernel, kRootInode, "f")), Err::kStale);
    EXPECT_EQ(ErrOf(client->Read(kKernel, ino, 0, buffer)), Err::kStale);
    EXPECT_EQ(ErrOf(client->Statfs(kKernel)), Err::kStale);
    EXPECT_EQ(ErrOf(client->Sync(kKernel)), Err::kStale);
    CreateArgs args;
    args.parent = kRootInode;
    args.name = "g";
    EXPECT_EQ(ErrOf(client->Create(kKernel, args)), Err::kStale);
  }
  EXPECT_EQ(WriteErr(kKernel, ino, 0, "x"), Err::kStale);
}

TEST_F(VolumeTest, ARenamedVolumeGoesOnWorking) {
  NEEDS(kHost);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  Must(driver_->host().Rename(kVolume, "renamed"));
  EXPECT_EQ(ReadAll(ino), "data");
  EXPECT_EQ(Read(*driver_->Attach("renamed"), ino), "data");
  EXPECT_EQ(ErrOf(driver_->host().Show(kVolume)), Err::kNoEntry);
}

TEST_F(VolumeTest, NamesOfVolumesAreChecked) {
  NEEDS(kHost);
  fs::Host& host = driver_->host();
  for (const std::string& name :
       {std::string(""), std::string(".x"), std::string("-x"), std::string("a/b"),
        std::string("a b"), std::string(129, 'v'), std::string("v\0w", 3)}) {
    EXPECT_EQ(ErrOf(host.Create(name, false)), Err::kInvalid) << name;
    EXPECT_EQ(ErrOf(host.Clone(kVolume, {name})), Err::kInvalid) << name;
    EXPECT_EQ(ErrOf(host.Rename(kVolume, name)), Err::kInvalid) << name;
  }
  EXPECT_EQ(ErrOf(host.Create(std::string(128, 'v'), false)), Err::kOk);
}

TEST_F(VolumeTest, HostOperationsAreAllOrNothing) {
  NEEDS(kHost);
  fs::Host& host = driver_->host();
  EXPECT_EQ(ErrOf(host.Create(kVolume, false)), Err::kExists);
  EXPECT_EQ(ErrOf(host.Clone("missing", {"x"})), Err::kNoEntry);
  EXPECT_EQ(ErrOf(host.Clone(kVolume, {"x", kVolume})), Err::kExists);
  EXPECT_EQ(ErrOf(host.Destroy({kVolume, "missing"})), Err::kNoEntry);
  EXPECT_EQ(ErrOf(host.Rename("missing", "x")), Err::kNoEntry);
  EXPECT_EQ(ErrOf(host.Attach("missing", false)), Err::kNoEntry);
  EXPECT_EQ(host.List().size(), 1u);
  EXPECT_EQ(ErrOf(host.Show("x")), Err::kNoEntry);
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, kRootInode)), Err::kOk);
}

TEST_F(VolumeTest, OneCloneCallMakesManyEqualVolumes) {
  NEEDS(kHost);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  std::vector<std::string> names;
  for (int i = 0; i < 100; ++i) names.push_back("c" + std::to_string(i));
  EXPECT_EQ(Must(driver_->host().Clone(kVolume, names)).size(), 100u);
  for (const std::string& name : {names.front(), names.back()}) {
    EXPECT_EQ(Read(*driver_->Attach(name), ino), "data");
    EXPECT_EQ(Must(driver_->host().Show(name)).parent, kVolume);
  }
  EXPECT_EQ(driver_->host().List().size(), 101u);
}

TEST_F(VolumeTest, AnImportIsBusyUntilPublished) {
  NEEDS(kHost);
  fs::Host& host = driver_->host();
  EXPECT_TRUE(Must(host.Create("import", true)).importing);
  EXPECT_EQ(ErrOf(host.Attach("import", false)), Err::kBusy);
  EXPECT_EQ(ErrOf(host.Clone("import", {"x"})), Err::kBusy);
  {
    auto importer = Must(host.Attach("import", true));
    CreateArgs args;
    args.parent = kRootInode;
    args.name = "f";
    Must(importer->Create(kKernel, args));
  }
  Must(host.Publish("import"));
  EXPECT_EQ(ErrOf(Must(host.Attach("import", false))->Lookup(kKernel, kRootInode, "f")), Err::kOk);
  EXPECT_EQ(ErrOf(host.Clone("import", {"x"})), Err::kOk);
}

}  // namespace
}  // namespace prism::conformance
