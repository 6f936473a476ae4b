// Snapshots, and going back to them, as the clients of the volumes see it.
#include <atomic>
#include <chrono>
#include <thread>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr char kSnapshot[] = "under-test@before";

class SnapshotTest : public Conformance {
 protected:
  void SetUp() override { NEEDS(kHost); }
  std::shared_ptr<FileSystem> Snapshot() {
    Must(driver_->host().Snapshot({kSnapshot}, 0));
    return driver_->Attach(kSnapshot);
  }
  void RollBack() { Must(driver_->host().Rollback(kSnapshot)); }
  static std::string Read(FileSystem& file_system, InodeId ino) {
    std::string buffer(fs::kIoMax, '\0');
    auto result =
        Must(file_system.Read(kKernel, ino, 0, std::as_writable_bytes(std::span(buffer))));
    return buffer.substr(0, result.length);
  }
};

TEST_F(SnapshotTest, HasEverythingThatReturnedBeforeAndNothingLater) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId file = MakeFile(dir, "f", Pattern(300000));
  auto snapshot = Snapshot();
  WriteAt(file, 0, "changed");
  MakeFile(dir, "later");
  InodeId found = Must(snapshot->Lookup(kKernel, dir, "f")).attr.ino;
  EXPECT_TRUE(Read(*snapshot, found) == Pattern(300000));
  EXPECT_EQ(ErrOf(snapshot->Lookup(kKernel, dir, "later")), Err::kNoEntry);
  EXPECT_EQ(ReadAt(file, 0, 7), "changed");
}

TEST_F(SnapshotTest, CannotBeChanged) {
  InodeId dir = MakeDir(kRootInode, "d", 0777);
  InodeId file = MakeFile(kRootInode, "f", "data", 0666);
  auto snapshot = Snapshot();
  CreateArgs create;
  create.parent = dir;
  create.name = "new";
  EXPECT_EQ(ErrOf(snapshot->Create(kKernel, create)), Err::kReadOnly);
  SetAttr changes;
  changes.mode = 0600;
  EXPECT_EQ(ErrOf(snapshot->Setattr(kKernel, file, changes)), Err::kReadOnly);
  EXPECT_EQ(ErrOf(snapshot->Unlink(kKernel, kRootInode, "f")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(snapshot->Rmdir(kKernel, kRootInode, "d")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(snapshot->Link(kKernel, file, dir, "l")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(snapshot->Rename(kKernel, kRootInode, "f", dir, "g", 0)), Err::kReadOnly);
  fs::WriteArgs write;
  write.ino = file;
  write.data = AsBytes("x");
  EXPECT_EQ(ErrOf(snapshot->Write(kKernel, write)), Err::kReadOnly);
  if (Can(Feature::kXattrs)) {
    EXPECT_EQ(ErrOf(snapshot->Setxattr(kKernel, file, "user.x", "v", XattrMode::kSet)),
              Err::kReadOnly);
  }
  if (Can(Feature::kRangeOps)) {
    EXPECT_EQ(ErrOf(snapshot->Fallocate(kKernel, file, FallocateMode::kPunchHole, 0, 1)),
              Err::kReadOnly);
  }
  EXPECT_EQ(Read(*snapshot, file), "data");
  EXPECT_EQ(ErrOf(snapshot->Getattr(kKernel, dir)), Err::kOk);
}

TEST_F(SnapshotTest, RollingBackBringsEverythingBack) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId changed = MakeFile(dir, "changed", Pattern(200000));
  InodeId removed = MakeFile(dir, "removed", "still here");
  InodeId moved = MakeFile(dir, "moved", "moved");
  Must(driver_->host().Snapshot({kSnapshot}, 0));
  const fs::StatfsResult usage = Must(fs_->Statfs(kKernel));
  const Attr before = GetAttr(changed);

  WriteAt(changed, 1000, Pattern(100000, 7));
  Truncate(changed, 150000);
  Must(fs_->Unlink(kKernel, dir, "removed"));
  Must(fs_->Rename(kKernel, dir, "moved", kRootInode, "elsewhere", 0));
  MakeFile(dir, "new", Pattern(50000));
  RollBack();

  fs_.reset();  // what the client's kernel remembers is not what is asked about here
  fs_ = driver_->Attach(kVolume);
  dir = Find(kRootInode, "d");
  EXPECT_EQ(List(dir).size(), 3u);
  EXPECT_TRUE(ReadAll(Find(dir, "changed")) == Pattern(200000));
  EXPECT_EQ(GetAttr(Find(dir, "changed")).mtime, before.mtime);
  EXPECT_EQ(ReadAll(Find(dir, "removed")), "still here");
  EXPECT_EQ(ReadAll(Find(dir, "moved")), "moved");
  EXPECT_FALSE(Exists(kRootInode, "elsewhere"));
  EXPECT_EQ(Must(fs_->Statfs(kKernel)).files, usage.files);
  EXPECT_EQ(Must(fs_->Statfs(kKernel)).used_bytes, usage.used_bytes);
  MakeFile(dir, "goes on", "as before");
  EXPECT_EQ(ReadAll(Find(dir, "goes on")), "as before");
  (void)removed;
  (void)moved;
}

TEST_F(SnapshotTest, WhatTheSnapshotLacksIsStaleForThoseWhoHaveIt) {
  NEEDS(kUncached);
  NEEDS(kInodeByNumber);
  Must(driver_->host().Snapshot({kSnapshot}, 0));
  InodeId later = MakeFile(kRootInode, "later", "data");
  RollBack();
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, later)), Err::kStale);
  std::byte buffer[4];
  EXPECT_EQ(ErrOf(fs_->Read(kKernel, later, 0, buffer)), Err::kStale);
  EXPECT_EQ(WriteErr(kKernel, later, 0, "x"), Err::kStale);
  // Not even by a new file with the old number.
  InodeId fresh = MakeFile(kRootInode, "fresh", "fresh");
  EXPECT_NE(fresh, later);
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, later)), Err::kStale);
}

TEST_F(SnapshotTest, UnsavedDataOfBeforeIsNotWrittenAfterwards) {
  NEEDS(kUncached);
  InodeId file = MakeFile(kRootInode, "f", Pattern(100000));
  Must(driver_->host().Snapshot({kSnapshot}, 0));
  for (int round = 0; round < 20; ++round) {
    WriteAt(file, round * 5000, Pattern(3000, round + 1));
    RollBack();
    WriteAt(file, 50000, Pattern(10, 99));
    Must(fs_->Sync(kKernel));
    std::string expected = Pattern(100000);
    expected.replace(50000, 10, Pattern(10, 99));
    ASSERT_TRUE(ReadAll(file) == expected) << round;
  }
}

TEST_F(SnapshotTest, ClientsAreToldToDropEverything) {
  NEEDS(kEvents);
  struct Listener : fs::EventListener {
    void OnEvent(const fs::Event& event) override { all += event.kind == fs::Event::Kind::kAll; }
    std::atomic<int> all{0};
  } listener;
  fs_->SetListener(&listener);
  Must(driver_->host().Snapshot({kSnapshot}, 0));
  MakeFile(kRootInode, "f");
  EXPECT_EQ(listener.all, 0);
  RollBack();
  for (int i = 0; i < 500 && listener.all == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_GE(listener.all, 1);
  fs_->SetListener(nullptr);
}

TEST_F(SnapshotTest, OrphansAreNobodysInASnapshotAndReleasedOnceAfterRollback) {
  NEEDS(kOrphans);
  NEEDS(kInodeByNumber);
  InodeId held = MakeFile(kRootInode, "held", Pattern(100000));
  InodeId linked = MakeFile(kRootInode, "linked", "x");
  Must(fs_->Unlink(kKernel, kRootInode, "held"));
  auto snapshot = Snapshot();
  EXPECT_EQ(ErrOf(snapshot->Getattr(kKernel, held)), Err::kStale);
  EXPECT_EQ(ErrOf(snapshot->Fsync(kKernel, held, false)), Err::kStale);
  EXPECT_EQ(ErrOf(snapshot->Release(kKernel, held)), Err::kInvalid);
  Must(fs_->Unlink(kKernel, kRootInode, "linked"));
  RollBack();
  EXPECT_TRUE(ReadAll(held) == Pattern(100000)) << "it was held all along";
  EXPECT_EQ(GetAttr(linked).nlink, 1u);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, linked)), Err::kInvalid) << "it has a name again";
  Must(fs_->Release(kKernel, held));
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, held)), Err::kStale);
  RollBack();
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, held)), Err::kStale) << "nobody holds it any more";
}

TEST_F(SnapshotTest, SeveralVolumesAtOneInstant) {
  Must(driver_->host().Create("second", false));
  MakeFile(kRootInode, "f", "1");
  Must(driver_->host().Snapshot({"under-test@both", "second@both"}, 0));
  EXPECT_EQ(ErrOf(driver_->Attach("under-test@both")->Lookup(kKernel, kRootInode, "f")), Err::kOk);
  EXPECT_EQ(ErrOf(driver_->Attach("second@both")->Lookup(kKernel, kRootInode, "f")), Err::kNoEntry);
}

TEST_F(SnapshotTest, AClonedSnapshotIsAVolumeOfItsOwn) {
  InodeId file = MakeFile(kRootInode, "f", "before");
  Must(driver_->host().Snapshot({kSnapshot}, 0));
  WriteAt(file, 0, "after!");
  Must(driver_->host().Clone(kSnapshot, {"clone"}));
  Must(driver_->host().Destroy({kVolume}, true));
  auto clone = driver_->Attach("clone");
  InodeId found = Must(clone->Lookup(kKernel, kRootInode, "f")).attr.ino;
  EXPECT_EQ(Read(*clone, found), "before");
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "new";
  EXPECT_EQ(ErrOf(clone->Create(kKernel, args)), Err::kOk);
}

}  // namespace
}  // namespace prism::conformance
