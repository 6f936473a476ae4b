#include "fs/mount/invalidator.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <semaphore>

namespace prism::mount {
namespace {

using fs::Event;

// Writes down what the kernel would be told.
class InvalidatorTest : public ::testing::Test {
 protected:
  InvalidatorHooks Hooks() {
    return {.drop_inode = [this](InodeId ino) { Say("inode " + std::to_string(ino)); },
            .drop_attributes = [this](InodeId ino) { Say("attributes " + std::to_string(ino)); },
            .drop_entry =
                [this](InodeId dir, const std::string& name) {
                  Say("entry " + std::to_string(dir) + " " + name);
                },
            .drop_all_entries = [this] { Say("all entries"); },
            .wait_quiescent =
                [this] {
                  Say("quiescent");
                  if (at_quiescence_) at_quiescence_();
                },
            .release = [this](InodeId ino) { Say("release " + std::to_string(ino)); },
            .lock_granted = [this](uint64_t cookie) { granted_.push_back(cookie); },
            .ask_for_locks = [this] { Say("ask for locks"); }};
  }
  void Say(std::string text) { said_.push_back(std::move(text)); }  // by the one thread

  LookupTable lookups_;
  std::function<void()> at_quiescence_;
  std::vector<std::string> said_;
  std::vector<uint64_t> granted_;  // by the one that tells
};

TEST_F(InvalidatorTest, TellsTheKernelInOrder) {
  Invalidator invalidator(lookups_, Hooks());
  invalidator.OnEvent({.kind = Event::Kind::kInode, .ino = 5});
  invalidator.OnEvent({.kind = Event::Kind::kEntry, .ino = 6, .name = "x"});
  invalidator.Stop();
  EXPECT_EQ(said_, (std::vector<std::string>{"inode 5", "entry 6 x", "inode 6"}));
}

TEST_F(InvalidatorTest, AGrantedLockIsToldAtOnce) {
  Invalidator invalidator(lookups_, Hooks());
  invalidator.OnEvent({.kind = Event::Kind::kLockGranted, .ino = 5, .cookie = 77});
  EXPECT_EQ(granted_, std::vector<uint64_t>{77});
  invalidator.Stop();
  EXPECT_TRUE(said_.empty());
}

TEST_F(InvalidatorTest, AnOverflowDropsEverythingKnown) {
  lookups_.Add(9);
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future();
  InvalidatorHooks hooks = Hooks();
  std::binary_semaphore busy{0};
  hooks.drop_inode = [&, gate](InodeId ino) {
    if (ino == 100) busy.release();
    gate.wait();
    Say("inode " + std::to_string(ino));
  };
  Invalidator invalidator(lookups_, hooks);
  invalidator.OnEvent({.kind = Event::Kind::kInode, .ino = 100});
  busy.acquire();  // the rest comes while it is held up
  for (size_t i = 1; i < 3 * Invalidator::kEventsMax; ++i)
    invalidator.OnEvent({.kind = Event::Kind::kInode, .ino = 100 + i});
  go.set_value();
  invalidator.Stop();
  EXPECT_EQ(said_, (std::vector<std::string>{"inode 100", "all entries", "inode 1", "inode 9",
                                             "ask for locks"}));
}

TEST_F(InvalidatorTest, AnOrphanThatTheKernelHoldsIsLeftAlone) {
  lookups_.Add(9);
  Invalidator invalidator(lookups_, Hooks());
  invalidator.OnEvent({.kind = Event::Kind::kOrphaned, .ino = 9});
  invalidator.Stop();
  EXPECT_EQ(said_, std::vector<std::string>{"attributes 9"});
  EXPECT_TRUE(lookups_.Forget(9, 1));
}

TEST_F(InvalidatorTest, AnUnknownOrphanIsReleasedAfterRequestsInService) {
  Invalidator invalidator(lookups_, Hooks());
  invalidator.Orphaned(9);
  invalidator.Stop();
  EXPECT_EQ(said_, (std::vector<std::string>{"quiescent", "release 9"}));
}

TEST_F(InvalidatorTest, AReplyUnderWayKeepsAnUnknownOrphan) {
  at_quiescence_ = [this] { lookups_.Add(9); };
  Invalidator invalidator(lookups_, Hooks());
  invalidator.Orphaned(9);
  invalidator.Stop();
  EXPECT_EQ(said_, std::vector<std::string>{"quiescent"});
  EXPECT_TRUE(lookups_.Forget(9, 1));
}

TEST_F(InvalidatorTest, OrphansSurviveAnOverflow) {
  std::promise<void> go;
  std::shared_future<void> gate = go.get_future();
  InvalidatorHooks hooks = Hooks();
  std::atomic<int> released{0};
  hooks.drop_inode = [gate](InodeId) { gate.wait(); };
  hooks.drop_attributes = [](InodeId) {};
  hooks.release = [&](InodeId) { ++released; };
  Invalidator invalidator(lookups_, hooks);
  for (size_t i = 0; i < 3 * Invalidator::kEventsMax; ++i) {
    invalidator.OnEvent({.kind = Event::Kind::kInode, .ino = 100 + i});
    if (i % 1000 == 0) invalidator.OnEvent({.kind = Event::Kind::kOrphaned, .ino = 1000000 + i});
  }
  go.set_value();
  invalidator.Stop();
  EXPECT_EQ(released, static_cast<int>((3 * Invalidator::kEventsMax + 999) / 1000));
}

}  // namespace
}  // namespace prism::mount
