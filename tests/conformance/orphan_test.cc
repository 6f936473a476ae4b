// Holds: what lives on without a name; and the events that tell other clients of changes.
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

using fs::Event;

class Recorder : public fs::EventListener {
 public:
  void OnEvent(const Event& event) override {
    std::lock_guard lock(mutex_);
    events_.push_back(event);
    arrived_.notify_all();
  }
  // Waits for an event that says at least this; kAll says everything.
  bool Saw(Event::Kind kind, InodeId ino, std::string_view name = {}) {
    auto told = [&] {
      for (const Event& event : events_) {
        if (event.kind == Event::Kind::kAll && kind != Event::Kind::kOrphaned) return true;
        if (event.kind == kind && event.ino == ino && (name.empty() || event.name == name))
          return true;
      }
      return false;
    };
    std::unique_lock lock(mutex_);
    return arrived_.wait_for(lock, std::chrono::seconds(5), told);
  }
  size_t count() {
    std::lock_guard lock(mutex_);
    return events_.size();
  }
  void Clear() {
    std::lock_guard lock(mutex_);
    events_.clear();
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Event> events_;
};

class OrphanTest : public Conformance {
 protected:
  void SetUp() override { NEEDS(kOrphans); }
};

TEST_F(OrphanTest, AnUnlinkedFileWorksUntilItIsReleased) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  EXPECT_EQ(Must(fs_->Unlink(kKernel, kRootInode, "f")).removed.nlink, 0u);
  EXPECT_EQ(GetAttr(ino).nlink, 0u);
  WriteAt(ino, 4, "-more");
  Truncate(ino, 8);
  Chmod(ino, 0400);
  Must(fs_->Setxattr(kKernel, ino, "user.x", "1", XattrMode::kSet));
  EXPECT_EQ(ReadAll(ino), "data-mor");
  EXPECT_EQ(ErrOf(fs_->Fsync(kKernel, ino, false)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, ino)), Err::kStale);
  EXPECT_EQ(WriteErr(kKernel, ino, 0, "x"), Err::kStale);
}

TEST_F(OrphanTest, ReleasingWhatIsNotHeldIsInvalid) {
  InodeId ino = MakeFile(kRootInode, "f");
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, kRootInode)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, kInodeMax - 3)), Err::kInvalid);
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, kRootInode)), Err::kOk);
}

TEST_F(OrphanTest, ARemovedDirectoryIsEmptyAndLeadsNowhere) {
  InodeId dir = MakeDir(kRootInode, "d");
  Must(fs_->Rmdir(kKernel, kRootInode, "d"));
  EXPECT_EQ(GetAttr(dir).nlink, 0u);
  EXPECT_EQ(LookupErr(dir, "x"), Err::kNoEntry);
  EXPECT_TRUE(List(dir).empty());
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, dir)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, dir)), Err::kStale);
}

TEST_F(OrphanTest, EveryClientThatLivesHoldsWhatAnyOfThemUnlinks) {
  auto other = driver_->Attach(kVolume);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  if (!Can(Feature::kHoldsUnseen)) Must(other->Lookup(kKernel, kRootInode, "f"));
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  Must(fs_->Release(kKernel, ino));
  EXPECT_EQ(ErrOf(other->Getattr(kKernel, ino)), Err::kOk);
  EXPECT_EQ(ErrOf(other->Release(kKernel, ino)), Err::kOk);
  EXPECT_EQ(ErrOf(other->Getattr(kKernel, ino)), Err::kStale);
}

TEST_F(OrphanTest, AClientThatGoesReleasesAll) {
  auto other = driver_->Attach(kVolume);
  InodeId ino = MakeFile(kRootInode, "f", Pattern(100000));
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  Must(fs_->Release(kKernel, ino));
  other.reset();
  // A server may learn a little later that a client has gone.
  auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (ErrOf(fs_->Getattr(kKernel, ino)) != Err::kStale &&
         std::chrono::steady_clock::now() < deadline)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, ino)), Err::kStale);
  EXPECT_EQ(Must(fs_->Statfs(kKernel)).files, 1u);
}

TEST_F(OrphanTest, AClientThatCameLaterHoldsNothing) {
  InodeId ino = MakeFile(kRootInode, "f");
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  auto late = driver_->Attach(kVolume);
  EXPECT_EQ(ErrOf(late->Release(kKernel, ino)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kOk);
}

TEST_F(OrphanTest, AFileWithNamesLeftIsNoOrphan) {
  InodeId ino = MakeFile(kRootInode, "f");
  Must(fs_->Link(kKernel, ino, kRootInode, "g"));
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kInvalid);
  EXPECT_EQ(Find(kRootInode, "g"), ino);
}

TEST_F(OrphanTest, ManyOrphansAreReleasedOneByOne) {
  std::vector<InodeId> inodes;
  for (int i = 0; i < 300; ++i) {
    std::string name = "f" + std::to_string(i);
    inodes.push_back(MakeFile(kRootInode, name, Pattern(5000, i)));
    Must(fs_->Unlink(kKernel, kRootInode, name));
  }
  for (size_t i = 0; i < inodes.size(); ++i) EXPECT_EQ(ReadAll(inodes[i]), Pattern(5000, i));
  for (InodeId ino : inodes) EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino)), Err::kOk);
  fs::StatfsResult result = Must(fs_->Statfs(kKernel));
  EXPECT_EQ(result.files, 1u);
  EXPECT_EQ(result.used_bytes, 0u);
}

class EventTest : public Conformance {
 protected:
  EventTest() : other_(driver_->Attach(kVolume)) {
    fs_->SetListener(&mine_);
    other_->SetListener(&theirs_);
  }
  void SetUp() override { NEEDS(kEvents); }
  ~EventTest() override {
    fs_->SetListener(nullptr);
    other_->SetListener(nullptr);
  }
  // Own operations are never told; those before this one on `fs_` are all delivered when the
  // other client has seen this one.
  void ExpectNothingForMe() {
    static int number = 0;
    std::string name = "barrier" + std::to_string(++number);
    MakeFile(kRootInode, name);
    EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, name));
    EXPECT_EQ(mine_.count(), 0u);
  }

  std::shared_ptr<FileSystem> other_;
  Recorder mine_, theirs_;
};

TEST_F(EventTest, CreatingTellsTheEntry) {
  MakeFile(kRootInode, "f");
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, "f"));
  ExpectNothingForMe();
}

TEST_F(EventTest, WritingAndSetattrTellTheInode) {
  InodeId ino = MakeFile(kRootInode, "f");
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, "f"));
  const std::function<void()> kChanges[] = {
      [&] { WriteAt(ino, 0, "x"); },
      [&] { Truncate(ino, 10); },
      [&] { Chmod(ino, 0600); },
      [&] { Must(fs_->Setxattr(kKernel, ino, "user.x", "1", XattrMode::kSet)); },
      [&] { Must(fs_->Removexattr(kKernel, ino, "user.x")); },
      [&] { Must(fs_->Fallocate(kKernel, ino, FallocateMode::kPunchHole, 0, 5)); },
      [&] { Must(fs_->CopyRange(kKernel, ino, 0, ino, 5, 5)); },
  };
  for (size_t i = 0; i < std::size(kChanges); ++i) {
    theirs_.Clear();
    kChanges[i]();
    EXPECT_TRUE(theirs_.Saw(Event::Kind::kInode, ino)) << i;
  }
  ExpectNothingForMe();
}

TEST_F(EventTest, LinkAndUnlinkTellEntryAndInode) {
  InodeId ino = MakeFile(kRootInode, "f");
  Must(fs_->Link(kKernel, ino, kRootInode, "g"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, "g"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kInode, ino));
  theirs_.Clear();
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, "f"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kInode, ino));
  ExpectNothingForMe();
}

TEST_F(EventTest, LosingTheLastLinkTellsTheOrphan) {
  InodeId ino = MakeFile(kRootInode, "f");
  InodeId dir = MakeDir(kRootInode, "d");
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kOrphaned, ino));
  Must(fs_->Rmdir(kKernel, kRootInode, "d"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kOrphaned, dir));
  EXPECT_EQ(ErrOf(other_->Release(kKernel, ino)), Err::kOk);
  ExpectNothingForMe();
}

TEST_F(EventTest, RenamingTellsBothEntriesAndWhatWasReplaced) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId moved = MakeFile(kRootInode, "a");
  InodeId replaced = MakeFile(dir, "b");
  theirs_.Clear();
  Must(fs_->Rename(kKernel, kRootInode, "a", dir, "b", 0));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, "a"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, dir, "b"));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kInode, moved));
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kOrphaned, replaced));
  ExpectNothingForMe();
}

TEST_F(EventTest, ReadingTellsNothing) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  ExpectNothingForMe();
  ReadAt(ino, 0, 4);
  List(kRootInode);
  size_t before = theirs_.count();
  ReadAt(ino, 0, 4);
  EXPECT_EQ(theirs_.count(), before);
}

TEST_F(EventTest, AfterRemovalOfTheListenerNothingIsTold) {
  other_->SetListener(nullptr);
  MakeFile(kRootInode, "f");
  EXPECT_EQ(theirs_.count(), 0u);
}

TEST_F(EventTest, OtherVolumesAreNotTold) {
  NEEDS(kHost);
  Must(driver_->host().Clone(kVolume, {"clone"}));
  auto clone = driver_->Attach("clone");
  Recorder recorder;
  clone->SetListener(&recorder);
  MakeFile(kRootInode, "f");
  EXPECT_TRUE(theirs_.Saw(Event::Kind::kEntry, kRootInode, "f"));
  EXPECT_EQ(recorder.count(), 0u);
  clone->SetListener(nullptr);
}

}  // namespace
}  // namespace prism::conformance
