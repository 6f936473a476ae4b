// Locks: who is in whose way, how ranges are cut and joined, what is told.
#include <algorithm>

#include "tests/conformance/lock_fixture.h"

namespace prism::conformance {
namespace {

TEST_F(LockTest, SharedLocksAgreeAndExclusiveOnesDoNot) {
  EXPECT_EQ(Set("a", kShared, 0, 10), Err::kOk);
  EXPECT_EQ(Set("b", kShared, 5, 10), Err::kOk);
  EXPECT_EQ(Set("c", kExclusive, 9, 1), Err::kAgain);
  EXPECT_EQ(Set("c", kExclusive, 15, 0), Err::kOk);
  EXPECT_EQ(Set("a", kShared, 20, 1), Err::kAgain);
  EXPECT_EQ(Set("c", kExclusive, 0, 0), Err::kAgain);
  EXPECT_EQ(Map(17), "sssssssssssssssxx");
}

TEST_F(LockTest, OwnersOfDifferentClientsAreDifferent) {
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("a", kExclusive))), Err::kAgain);
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("a", kUnlock))), Err::kOk);
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("a", kShared))), Err::kAgain);
  EXPECT_EQ(Set("a", kUnlock), Err::kOk);
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("a", kShared))), Err::kOk);
}

TEST_F(LockTest, FilesAndVolumesHaveTheirOwn) {
  NEEDS(kHost);
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  LockArgs args = Args("b", kExclusive);
  args.ino = MakeFile(kRootInode, "g");
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, args)), Err::kOk);
  args.ino = kRootInode;
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, args)), Err::kOk);
  Must(driver_->host().Clone(kVolume, {"clone"}));
  auto clone = driver_->Attach("clone");
  args.ino = ino_;
  EXPECT_EQ(ErrOf(clone->Lock(kKernel, args)), Err::kOk);
}

TEST_F(LockTest, RangesAreCutAndJoined) {
  EXPECT_EQ(Set("a", kExclusive, 2, 6), Err::kOk);
  EXPECT_EQ(Map(), "..xxxxxx..");
  EXPECT_EQ(Set("a", kUnlock, 4, 2), Err::kOk);
  EXPECT_EQ(Map(), "..xx..xx..");
  EXPECT_EQ(Set("a", kShared, 3, 2), Err::kOk);
  EXPECT_EQ(Map(), "..xss.xx..");
  EXPECT_EQ(Set("a", kExclusive, 5, 1), Err::kOk);
  EXPECT_EQ(Map(), "..xssxxx..");
  auto joined = Holder(Args("b", kExclusive, 6, 1));
  ASSERT_TRUE(joined);
  EXPECT_EQ(joined->start, 5u);
  EXPECT_EQ(joined->length, 3u);
  EXPECT_EQ(Set("a", kShared, 0, 0), Err::kOk);
  EXPECT_EQ(Map(), "ssssssssss");
  EXPECT_EQ(Set("a", kUnlock, 1, 0), Err::kOk);
  EXPECT_EQ(Map(), "s.........");
  EXPECT_EQ(Set("a", kUnlock, 0, 0), Err::kOk);
  EXPECT_EQ(Map(), "..........");
}

// Two owners' ranges against what each byte should be.
TEST_F(LockTest, RandomRangesAreWhatTheirBytesSay) {
  constexpr uint64_t kBytes = 12;
  const std::string_view kOwners[] = {"a", "b"};
  std::string expected[2] = {std::string(kBytes, '.'), std::string(kBytes, '.')};
  uint32_t state = 12345;
  auto next = [&](uint32_t below) { return (state = state * 1664525 + 1013904223) / 7 % below; };
  for (int step = 0; step < 400; ++step) {
    const size_t who = next(2);
    const uint64_t start = next(kBytes), length = 1 + next(static_cast<uint32_t>(kBytes - start));
    const auto type = static_cast<LockType>(next(3));
    const char mark = ".sx"[static_cast<size_t>(type)];
    bool free = true;
    for (uint64_t i = start; i < start + length; ++i) {
      const char theirs = expected[1 - who][i];
      if (mark != '.' && theirs != '.' && (mark == 'x' || theirs == 'x')) free = false;
    }
    ASSERT_EQ(Set(kOwners[who], type, start, length), free ? Err::kOk : Err::kAgain) << step;
    if (free) expected[who].replace(start, length, length, mark);
    std::string both;
    for (uint64_t i = 0; i < kBytes; ++i) both += std::max(expected[0][i], expected[1][i]);
    ASSERT_EQ(Map(kBytes), both) << step;
  }
}

TEST_F(LockTest, TestingNamesTheHolder) {
  EXPECT_FALSE(Holder(Args("b", kExclusive)));
  EXPECT_EQ(Set("a", kShared, 5, 10), Err::kOk);
  EXPECT_FALSE(Holder(Args("b", kShared)));
  EXPECT_FALSE(Holder(Args("a", kExclusive)));
  EXPECT_FALSE(Holder(Args("b", kExclusive, 15, 0)));
  for (FileSystem* fs : {fs_.get(), other_.get()}) {
    auto holder = Holder(Args("b", kExclusive, 14, 1), fs);
    ASSERT_TRUE(holder);
    EXPECT_EQ(holder->kind, LockKind::kPosix);
    EXPECT_EQ(holder->type, kShared);
    EXPECT_EQ(holder->start, 5u);
    EXPECT_EQ(holder->length, 10u);
    EXPECT_EQ(holder->pid, 77u);
    EXPECT_EQ(holder->owner, "a");
    EXPECT_EQ(holder->own_client, fs == fs_.get());
  }
  EXPECT_EQ(Set("a", kExclusive, 100, 0), Err::kOk);
  auto holder = Holder(Args("b", kShared));
  ASSERT_TRUE(holder);
  EXPECT_EQ(holder->start, 100u);
  EXPECT_EQ(holder->length, 0u);
  EXPECT_EQ(holder->type, kExclusive);
}

TEST_F(LockTest, KindsConflictAsTheySeeEachOther) {
  constexpr LockKind kKinds[] = {LockKind::kPosix, LockKind::kFlock, LockKind::kNetwork};
  for (LockKind held : kKinds) {
    for (LockKind asked : kKinds) {
      EXPECT_EQ(ErrOf(fs_->Lock(kKernel, Whole(held, "a", kExclusive))), Err::kOk);
      const bool blind = (held == LockKind::kPosix && asked == LockKind::kFlock) ||
                         (held == LockKind::kFlock && asked == LockKind::kPosix);
      for (FileSystem* fs : {fs_.get(), other_.get()}) {
        EXPECT_EQ(ErrOf(fs->Lock(kKernel, Whole(asked, "b", kShared))),
                  blind ? Err::kOk : Err::kAgain)
            << static_cast<int>(held) << static_cast<int>(asked);
        EXPECT_EQ(ErrOf(fs->DropLocks(kKernel, 0, "")), Err::kOk);
        EXPECT_EQ(ErrOf(fs_->Lock(kKernel, Whole(held, "a", kExclusive))), Err::kOk);
      }
      EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, 0, "")), Err::kOk);
    }
  }
}

TEST_F(LockTest, ImpossibleRequestsAreInvalid) {
  constexpr uint64_t kMax = fs::kLockOffsetMax;
  EXPECT_EQ(Set("a", kShared, kMax, 1), Err::kOk);
  EXPECT_EQ(Set("a", kShared, kMax, 0), Err::kOk);
  EXPECT_EQ(Set("a", kShared, 0, kMax + 1), Err::kOk);
  EXPECT_EQ(Set("a", kShared, kMax, 2), Err::kInvalid);
  EXPECT_EQ(Set("a", kShared, kMax + 1, 0), Err::kInvalid);
  EXPECT_EQ(Set("a", kShared, 1, ~uint64_t{0}), Err::kInvalid);
  EXPECT_EQ(Set("a", kShared, 2, ~uint64_t{0}), Err::kInvalid);
  EXPECT_EQ(Set("a", kUnlock, 0, kMax + 2), Err::kInvalid);
  EXPECT_EQ(Set(std::string(fs::kLockOwnerMax, 'o'), kShared), Err::kOk);
  EXPECT_EQ(Set(std::string(fs::kLockOwnerMax + 1, 'o'), kShared), Err::kInvalid);
  EXPECT_EQ(Set(std::string(100000, 'o'), kShared), Err::kInvalid);
  LockArgs part = Whole(LockKind::kFlock, "a", kShared);
  part.length = 1;
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, part)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->TestLock(kKernel, Args("a", kUnlock))), Err::kInvalid);
  LockArgs odd = Args("a", static_cast<LockType>(9));
  EXPECT_TRUE(IsMalformed(ErrOf(fs_->Lock(kKernel, odd))));
  odd = Args("a", kShared);
  odd.kind = static_cast<LockKind>(9);
  EXPECT_TRUE(IsMalformed(ErrOf(fs_->Lock(kKernel, odd))));
}

TEST_F(LockTest, WhatIsGoneIsStale) {
  LockArgs args = Args("a", kShared);
  args.ino = kInodeMax - 5;
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, args)), Err::kStale);
  EXPECT_EQ(ErrOf(fs_->TestLock(kKernel, args)), Err::kStale);
  args.type = kUnlock;
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, args)), Err::kOk);
}

TEST_F(LockTest, AnOrphanKeepsItsLocksUntilItsReleased) {
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  EXPECT_EQ(Wait(*other_, 1, "b", kShared), Err::kAgain);
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, ino_)), Err::kOk);
  EXPECT_TRUE(theirs_.Saw(1, ino_));
}

TEST_F(LockTest, ADestroyedVolumeIsStaleAndItsWaitersAreServed) {
  NEEDS(kHost);
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  EXPECT_EQ(Wait(*other_, 1, "b", kShared), Err::kAgain);
  Must(driver_->host().Destroy({kVolume}));
  EXPECT_EQ(Set("a", kShared), Err::kStale);
  EXPECT_EQ(ErrOf(fs_->TestLock(kKernel, Args("a", kShared))), Err::kStale);
  EXPECT_EQ(ErrOf(fs_->CancelLock(kKernel, 7)), Err::kStale);
  EXPECT_EQ(Set("a", kUnlock), Err::kStale);
  EXPECT_TRUE(theirs_.Saw(1, ino_));
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, 0, "")), Err::kStale);
}

TEST_F(LockTest, CheckedCallersNeedToReadOrToWrite) {
  const InodeId readable = MakeOwned(kRootInode, "r", FileType::kRegular, 0604, 1, 1);
  const InodeId secret = MakeOwned(kRootInode, "s", FileType::kRegular, 0600, 1, 1);
  LockArgs args = Args("a", kShared);
  args.ino = readable;
  EXPECT_EQ(ErrOf(fs_->Lock(User(9), args)), Err::kOk);
  args.type = kExclusive;
  EXPECT_EQ(ErrOf(fs_->Lock(User(9), args)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->TestLock(User(9), args)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Lock(User(1), args)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Lock(kRoot, args)), Err::kOk);
  args.type = kUnlock;
  EXPECT_EQ(ErrOf(fs_->Lock(User(9), args)), Err::kOk);
  args = Args("a", kShared);
  args.ino = secret;
  EXPECT_EQ(ErrOf(fs_->Lock(User(9), args)), Err::kAccess);
}

}  // namespace
}  // namespace prism::conformance
