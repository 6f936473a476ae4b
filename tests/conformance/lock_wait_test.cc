// Locks: waiting, circles of waiting, giving up, bounds.
#include <atomic>
#include <thread>

#include "tests/conformance/lock_fixture.h"

namespace prism::conformance {
namespace {

TEST_F(LockTest, WaitersAreGrantedInOrderAsRoomComes) {
  EXPECT_EQ(Set("a", kExclusive, 0, 10), Err::kOk);
  EXPECT_EQ(Wait(*other_, 1, "b", kExclusive, 0, 5), Err::kAgain);
  EXPECT_EQ(Wait(*other_, 2, "c", kShared, 0, 5), Err::kAgain);
  EXPECT_EQ(Wait(*fs_, 3, "d", kShared, 5, 5), Err::kAgain);
  EXPECT_EQ(Set("a", kUnlock, 5, 5), Err::kOk);
  EXPECT_TRUE(mine_.Saw(3, ino_));
  EXPECT_TRUE(theirs_.Cookies().empty());
  EXPECT_EQ(Set("a", kUnlock, 0, 5), Err::kOk);
  EXPECT_TRUE(theirs_.Saw(1, ino_));
  EXPECT_EQ(theirs_.Cookies(), std::vector<uint64_t>({1}));
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("b", kUnlock))), Err::kOk);
  EXPECT_TRUE(theirs_.Saw(2, ino_));
  EXPECT_EQ(Map(), "ssssssssss");
  // Asking again for what was granted is granted: how a client makes sure.
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("c", kShared, 0, 5))), Err::kOk);
}

TEST_F(LockTest, WhatNeedNotWaitDoesNot) {
  EXPECT_EQ(Wait(*fs_, 1, "a", kExclusive), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->CancelLock(kKernel, 1)), Err::kNoEntry);
  EXPECT_TRUE(mine_.Cookies().empty());
}

TEST_F(LockTest, LoweringWakesReaders) {
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  EXPECT_EQ(Wait(*other_, 1, "b", kShared), Err::kAgain);
  EXPECT_EQ(Wait(*other_, 2, "c", kExclusive), Err::kAgain);
  EXPECT_EQ(Set("a", kShared), Err::kOk);
  EXPECT_TRUE(theirs_.Saw(1, ino_));
  EXPECT_EQ(theirs_.Cookies(), std::vector<uint64_t>({1}));
}

TEST_F(LockTest, RaisingWaitsForTheOtherReadersAndKeepsTheOld) {
  EXPECT_EQ(Set("a", kShared), Err::kOk);
  EXPECT_EQ(Set("b", kShared), Err::kOk);
  EXPECT_EQ(Set("a", kExclusive), Err::kAgain);
  EXPECT_EQ(Wait(*fs_, 1, "a", kExclusive), Err::kAgain);
  EXPECT_EQ(Set("c", kExclusive), Err::kAgain);
  EXPECT_EQ(Map(1), "s");
  EXPECT_EQ(Set("b", kUnlock), Err::kOk);
  EXPECT_TRUE(mine_.Saw(1, ino_));
  EXPECT_EQ(Map(1), "x");
}

TEST_F(LockTest, RaisingAFlockGivesUpTheOldOne) {
  auto flock = [&](std::string_view owner, LockType type) {
    return ErrOf(fs_->Lock(kKernel, Whole(LockKind::kFlock, owner, type)));
  };
  EXPECT_EQ(flock("a", kShared), Err::kOk);
  EXPECT_EQ(flock("b", kShared), Err::kOk);
  EXPECT_EQ(flock("a", kExclusive), Err::kAgain);
  EXPECT_EQ(flock("b", kExclusive), Err::kOk);
  EXPECT_EQ(flock("b", kShared), Err::kOk);
  EXPECT_EQ(flock("a", kShared), Err::kOk);
  // Both want more: the first one's giving up serves the second.
  EXPECT_EQ(Wait(*fs_, 1, Whole(LockKind::kFlock, "a", kExclusive)), Err::kAgain);
  EXPECT_EQ(Wait(*fs_, 2, Whole(LockKind::kFlock, "b", kExclusive)), Err::kOk);
  EXPECT_TRUE(mine_.Cookies().empty());
  EXPECT_EQ(flock("b", kUnlock), Err::kOk);
  EXPECT_TRUE(mine_.Saw(1, ino_));
}

TEST_F(LockTest, ACanceledRequestIsNotGranted) {
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  EXPECT_EQ(Wait(*other_, 1, "b", kExclusive), Err::kAgain);
  EXPECT_EQ(Wait(*other_, 1, "c", kShared), Err::kInvalid);
  EXPECT_EQ(Wait(*fs_, 1, "c", kShared), Err::kAgain);
  EXPECT_EQ(ErrOf(other_->CancelLock(kKernel, 2)), Err::kNoEntry);
  EXPECT_EQ(ErrOf(other_->CancelLock(kKernel, 1)), Err::kOk);
  EXPECT_EQ(ErrOf(other_->CancelLock(kKernel, 1)), Err::kNoEntry);
  EXPECT_EQ(Set("a", kUnlock), Err::kOk);
  EXPECT_TRUE(mine_.Saw(1, ino_));
  EXPECT_EQ(ErrOf(fs_->CancelLock(kKernel, 1)), Err::kNoEntry);
  EXPECT_TRUE(theirs_.Cookies().empty());
  EXPECT_EQ(Map(1), "s");
}

TEST_F(LockTest, CirclesOfWaitingAreDeadlocks) {
  const InodeId second = MakeFile(kRootInode, "second");
  auto on_second = [&](std::string_view owner) {
    LockArgs args = Args(owner, kExclusive);
    args.ino = second;
    return args;
  };
  EXPECT_EQ(Set("a", kExclusive, 0, 1), Err::kOk);
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, on_second("b"))), Err::kOk);
  EXPECT_EQ(Set("c", kExclusive, 5, 1), Err::kOk);
  EXPECT_EQ(Wait(*fs_, 1, on_second("a")), Err::kAgain);
  EXPECT_EQ(Wait(*other_, 2, "b", kShared, 5, 1), Err::kAgain);
  EXPECT_EQ(Set("c", kShared, 0, 1), Err::kAgain);
  EXPECT_EQ(Wait(*fs_, 3, "c", kShared, 0, 1), Err::kDeadlock);
  EXPECT_EQ(Wait(*fs_, 3, "d", kShared, 0, 1), Err::kAgain);
  // Without one in the middle there is no circle.
  EXPECT_EQ(ErrOf(other_->CancelLock(kKernel, 2)), Err::kOk);
  EXPECT_EQ(Wait(*fs_, 4, "c", kShared, 0, 1), Err::kAgain);
}

TEST_F(LockTest, TwoThatRaiseTheSameRangeAreADeadlock) {
  EXPECT_EQ(Set("a", kShared), Err::kOk);
  EXPECT_EQ(Set("b", kShared), Err::kOk);
  EXPECT_EQ(Wait(*fs_, 1, "a", kExclusive), Err::kAgain);
  EXPECT_EQ(Wait(*fs_, 2, "b", kExclusive), Err::kDeadlock);
  EXPECT_EQ(Set("b", kUnlock), Err::kOk);
  EXPECT_TRUE(mine_.Saw(1, ino_));
}

TEST_F(LockTest, LocksAreDroppedByOwnerByInodeAndAltogether) {
  const InodeId second = MakeFile(kRootInode, "second");
  auto held = [&](std::string_view owner, InodeId ino) {
    LockArgs args = Args("z", kExclusive, static_cast<uint64_t>(owner[1]), 1);
    args.ino = ino;
    return Holder(args).has_value();
  };
  auto take_all = [&] {
    for (std::string_view owner : {"h1", "h2", "k3"})
      for (InodeId ino : {ino_, second}) {
        LockArgs args = Args(owner, kExclusive, static_cast<uint64_t>(owner[1]), 1);
        args.ino = ino;
        EXPECT_EQ(ErrOf(fs_->Lock(kKernel, args)), Err::kOk);
      }
  };
  take_all();
  EXPECT_EQ(ErrOf(other_->DropLocks(kKernel, 0, "")), Err::kOk);
  EXPECT_TRUE(held("h1", ino_));
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, second, "h1")), Err::kOk);
  EXPECT_TRUE(held("h1", ino_) && held("h2", second) && !held("h1", second));
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, 0, "h")), Err::kOk);
  EXPECT_TRUE(!held("h1", ino_) && !held("h2", second) && held("k3", ino_) && held("k3", second));
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, ino_, "")), Err::kOk);
  EXPECT_TRUE(!held("k3", ino_) && held("k3", second));
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, 0, "")), Err::kOk);
  EXPECT_FALSE(held("k3", second));
}

TEST_F(LockTest, DroppingCancelsWhatWaits) {
  EXPECT_EQ(Set("a", kExclusive), Err::kOk);
  EXPECT_EQ(Wait(*other_, 1, "b", kExclusive), Err::kAgain);
  EXPECT_EQ(Wait(*other_, 2, "c", kExclusive), Err::kAgain);
  EXPECT_EQ(ErrOf(other_->DropLocks(kKernel, ino_, "b")), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, 0, "")), Err::kOk);
  EXPECT_TRUE(theirs_.Saw(2, ino_));
  EXPECT_EQ(theirs_.Cookies(), std::vector<uint64_t>({2}));
}

TEST_F(LockTest, AClientThatGoesGivesUpItsLocks) {
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, Args("a", kExclusive))), Err::kOk);
  EXPECT_EQ(Wait(*fs_, 1, "b", kExclusive), Err::kAgain);
  EXPECT_EQ(Wait(*other_, 1, "c", kExclusive), Err::kAgain);
  other_->SetListener(nullptr);
  other_.reset();
  EXPECT_TRUE(mine_.Saw(1, ino_));
  EXPECT_EQ(Set("b", kUnlock), Err::kOk);
  EXPECT_EQ(Map(1), ".");
}

TEST_F(LockTest, LocksOfAnInodeAreBounded) {
  for (uint64_t i = 0; i < fs::kLocksPerInodeMax; ++i)
    ASSERT_EQ(Set("a", kExclusive, 2 * i, 1), Err::kOk) << i;
  EXPECT_EQ(Set("a", kExclusive, 2 * fs::kLocksPerInodeMax, 1), Err::kNoLocks);
  EXPECT_EQ(Wait(*fs_, 1, "b", kExclusive), Err::kNoLocks);
  EXPECT_EQ(Set("a", kExclusive, 1, 1), Err::kOk);  // joins two
  EXPECT_EQ(Wait(*fs_, 1, "b", kExclusive), Err::kAgain);
  EXPECT_EQ(Set("a", kUnlock, 1, 1), Err::kNoLocks);  // would make two of one
  EXPECT_EQ(Set("a", kUnlock), Err::kOk);
  EXPECT_TRUE(mine_.Saw(1, ino_));
}

TEST_F(LockTest, LocksOfAClientAreBounded) {
  std::vector<InodeId> files;
  for (size_t i = 0; i <= fs::kLocksPerClientMax / fs::kLocksPerInodeMax; ++i)
    files.push_back(MakeFile(kRootInode, "file" + std::to_string(i)));
  for (size_t i = 0; i < fs::kLocksPerClientMax; ++i) {
    LockArgs args = Args("a", kExclusive, 2 * i, 1);
    args.ino = files[i / fs::kLocksPerInodeMax];
    ASSERT_EQ(ErrOf(fs_->Lock(kKernel, args)), Err::kOk) << i;
  }
  LockArgs one_more = Args("a", kExclusive);
  one_more.ino = files.back();
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, one_more)), Err::kNoLocks);
  EXPECT_EQ(ErrOf(other_->Lock(kKernel, one_more)), Err::kOk);
  EXPECT_EQ(ErrOf(other_->DropLocks(kKernel, 0, "")), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->DropLocks(kKernel, files[0], "")), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Lock(kKernel, one_more)), Err::kOk);
}

// Many owners take turns; at no time do two have it.
TEST_F(LockTest, AContendedLockIsHeldByOneAtATime) {
  constexpr int kThreads = 4, kTurns = 50;
  std::atomic<int> inside = 0, turns = 0;
  auto run = [&](FileSystem& fs, GrantRecorder& recorder, int number) {
    const std::string owner = "owner" + std::to_string(number);
    for (int turn = 0; turn < kTurns; ++turn) {
      const auto cookie = static_cast<uint64_t>(1000 * number + turn);
      const Err err = Wait(fs, cookie, owner, kExclusive, 10, 10);
      ASSERT_TRUE(err == Err::kOk || err == Err::kAgain) << NameOf(err);
      if (err == Err::kAgain) {
        ASSERT_TRUE(recorder.Saw(cookie, ino_));
      }
      EXPECT_EQ(inside.fetch_add(1), 0);
      ++turns;
      inside.fetch_sub(1);
      EXPECT_EQ(ErrOf(fs.Lock(kKernel, Args(owner, kUnlock, 10, 10))), Err::kOk);
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] { i % 2 == 0 ? run(*fs_, mine_, i) : run(*other_, theirs_, i); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(turns, kThreads * kTurns);
}

}  // namespace
}  // namespace prism::conformance
