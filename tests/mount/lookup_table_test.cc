#include "fs/mount/lookup_table.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <thread>

namespace prism::mount {
namespace {

TEST(LookupTable, ForgetsAfterAsManyReferencesAsAdded) {
  LookupTable table;
  table.Add(7);
  table.Add(7);
  EXPECT_FALSE(table.Forget(7, 1));
  EXPECT_EQ(table.size(), 1u);
  EXPECT_FALSE(table.Forget(7, 1));
  EXPECT_EQ(table.size(), 0u);
}

TEST(LookupTable, AnOrphanIsReleasedWithItsLastReference) {
  LookupTable table;
  table.Add(7);
  table.Add(7);
  EXPECT_FALSE(table.MarkOrphaned(7));
  EXPECT_FALSE(table.TakeUnused(7));
  EXPECT_FALSE(table.Forget(7, 1));
  EXPECT_TRUE(table.Forget(7, 1));
  EXPECT_FALSE(table.Forget(7, 1));
}

TEST(LookupTable, AnUnknownOrphanIsTakenOnceUnlessSomebodyCame) {
  LookupTable table;
  EXPECT_TRUE(table.MarkOrphaned(7));
  EXPECT_TRUE(table.TakeUnused(7));
  EXPECT_FALSE(table.TakeUnused(7));

  EXPECT_TRUE(table.MarkOrphaned(8));
  table.Add(8);
  EXPECT_FALSE(table.TakeUnused(8));
  EXPECT_TRUE(table.Forget(8, 1));
}

TEST(LookupTable, AForgetOfAMarkWithoutReferencesLeavesItToItsOwner) {
  LookupTable table;
  EXPECT_TRUE(table.MarkOrphaned(7));
  EXPECT_FALSE(table.Forget(7, 1));
  EXPECT_TRUE(table.TakeUnused(7));
}

TEST(LookupTable, MoreReferencesThanCountedAreAll) {
  LookupTable table;
  table.Add(7);
  EXPECT_FALSE(table.Forget(7, ~uint64_t{0}));
  EXPECT_EQ(table.size(), 0u);
}

TEST(LookupTable, TheRootIsNeverCounted) {
  LookupTable table;
  table.Add(kRootInode);
  EXPECT_EQ(table.size(), 0u);
  EXPECT_FALSE(table.Forget(kRootInode, 1));
}

// Against a plain map, dense enough that probe sequences wrap and entries move on erasure.
TEST(LookupTable, AgreesWithAMapOnRandomOperations) {
  LookupTable table;
  struct Entry {
    uint64_t count = 0;
    bool orphaned = false;
  };
  std::map<InodeId, Entry> expected;
  std::mt19937_64 random(42);
  for (int step = 0; step < 400000; ++step) {
    InodeId ino = 2 + random() % 3000;
    switch (random() % 4) {
      case 0:
        table.Add(ino);
        ++expected[ino].count;
        break;
      case 1: {
        uint64_t references = 1 + random() % 3;
        auto it = expected.find(ino);
        bool released = false;
        if (it != expected.end() && it->second.count > references) {
          it->second.count -= references;
        } else if (it != expected.end() && it->second.count > 0) {
          released = it->second.orphaned;
          expected.erase(it);
        }
        ASSERT_EQ(table.Forget(ino, references), released);
        break;
      }
      case 2:
        if (random() % 4 != 0) break;
        expected[ino].orphaned = true;
        ASSERT_EQ(table.MarkOrphaned(ino), expected[ino].count == 0);
        break;
      case 3: {
        auto it = expected.find(ino);
        bool unused = it != expected.end() && it->second.orphaned && it->second.count == 0;
        ASSERT_EQ(table.TakeUnused(ino), unused);
        if (unused) expected.erase(it);
        break;
      }
    }
    ASSERT_EQ(table.size(), expected.size());
  }
  EXPECT_EQ(table.Inodes().size(), expected.size());
}

// Every inode is given out, orphaned and forgotten by threads that race: whoever is told to release
// it, it must be exactly one.
TEST(LookupTable, ReleasesEachOrphanExactlyOnceUnderRaces) {
  constexpr InodeId kInodes = 2000;
  LookupTable table;
  std::vector<std::atomic<int>> releases(kInodes + 2);
  for (int round = 0; round < 20; ++round) {
    for (auto& count : releases) count = 0;
    for (InodeId ino = 2; ino < kInodes + 2; ++ino) table.Add(ino);
    std::atomic<int> ready{0};
    auto together = [&](auto&& action) {
      ++ready;
      while (ready < 3) std::this_thread::yield();
      for (InodeId ino = 2; ino < kInodes + 2; ++ino) action(ino);
    };
    std::thread orphaner([&] {
      together([&](InodeId ino) {
        if (table.MarkOrphaned(ino) && table.TakeUnused(ino)) ++releases[ino];
      });
    });
    std::thread forgetter([&] {
      together([&](InodeId ino) {
        if (table.Forget(ino, 1)) ++releases[ino];
      });
    });
    std::thread visitor([&] {
      together([&](InodeId ino) {
        table.Add(ino);
        if (table.Forget(ino, 1)) ++releases[ino];
      });
    });
    orphaner.join();
    forgetter.join();
    visitor.join();
    // A visitor who came between mark and take has the duty; one who came after the release made
    // the entry anew, without the mark.
    for (InodeId ino = 2; ino < kInodes + 2; ++ino) ASSERT_EQ(releases[ino], 1) << ino;
    ASSERT_EQ(table.size(), 0u);
  }
}

}  // namespace
}  // namespace prism::mount
