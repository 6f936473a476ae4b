// Readdir: cookies, large directories, listings while entries come and go.
#include <set>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class DirectoryTest : public Conformance {
 protected:
  struct Listed {
    std::string name;
    uint64_t cookie;
    InodeId ino;
  };
  // One call that takes at most `limit` entries.
  std::vector<Listed> Take(InodeId dir, uint64_t cookie, size_t limit, bool* eof = nullptr) {
    std::vector<Listed> taken;
    fs::ReaddirResult result =
        Must(fs_->Readdir(kKernel, dir, cookie, false, [&](const fs::DirEntry& entry) {
          if (taken.size() == limit) return false;
          taken.push_back({std::string(entry.name), entry.cookie, entry.ino});
          return true;
        }));
    if (eof != nullptr) *eof = result.eof;
    return taken;
  }
  void Fill(InodeId dir, int count) {
    for (int i = 0; i < count; ++i) MakeFile(dir, "entry-" + std::to_string(i));
  }
};

TEST_F(DirectoryTest, AnEmptyDirectoryEndsAtOnce) {
  bool eof = false;
  EXPECT_TRUE(Take(kRootInode, 0, 10, &eof).empty());
  EXPECT_TRUE(eof);
}

TEST_F(DirectoryTest, ListsTypesInodesAndAttributesWhenAsked) {
  MakeFile(kRootInode, "file", "12345");
  MakeDir(kRootInode, "dir");
  Must(Create(kRootInode, "link", FileType::kSymlink));
  std::map<std::string, Attr> seen;
  Must(fs_->Readdir(kKernel, kRootInode, 0, true, [&](const fs::DirEntry& entry) {
    EXPECT_NE(entry.attr, nullptr);
    if (entry.attr == nullptr) return false;
    EXPECT_EQ(entry.attr->ino, entry.ino);
    EXPECT_EQ(entry.attr->type, entry.type);
    seen[std::string(entry.name)] = *entry.attr;
    return true;
  }));
  ASSERT_EQ(seen.size(), 3u);
  for (const auto& [name, attr] : seen) {
    EXPECT_EQ(attr, GetAttr(attr.ino));
    EXPECT_EQ(Find(kRootInode, name), attr.ino);
  }
  EXPECT_EQ(seen["file"].size, 5u);
  EXPECT_EQ(seen["dir"].type, FileType::kDirectory);
  EXPECT_EQ(seen["link"].type, FileType::kSymlink);
}

TEST_F(DirectoryTest, WithoutBeingAskedThereAreNoAttributes) {
  MakeFile(kRootInode, "file");
  Must(fs_->Readdir(kKernel, kRootInode, 0, false, [&](const fs::DirEntry& entry) {
    EXPECT_EQ(entry.attr, nullptr);
    EXPECT_EQ(entry.type, FileType::kRegular);
    return true;
  }));
}

TEST_F(DirectoryTest, ReturnsTheDirectorysAttributes) {
  MakeFile(kRootInode, "file");
  fs::ReaddirResult result =
      Must(fs_->Readdir(kKernel, kRootInode, 0, false, [](auto&) { return true; }));
  EXPECT_EQ(result.dir.ino, kRootInode);
  EXPECT_EQ(result.dir.size, 32u);
}

TEST_F(DirectoryTest, CookiesGrowAndLeaveOneAndTwoFree) {
  Fill(kRootInode, 500);
  uint64_t last = 2;
  for (const Listed& entry : Take(kRootInode, 0, 1000)) {
    EXPECT_GT(entry.cookie, last);
    last = entry.cookie;
  }
}

TEST_F(DirectoryTest, DotAndDotDotAreNotListed) {
  InodeId dir = MakeDir(kRootInode, "d");
  MakeFile(dir, "x");
  EXPECT_EQ(List(dir).size(), 1u);
}

TEST_F(DirectoryTest, AListingMayStopAnywhereAndGoOn) {
  Fill(kRootInode, 100);
  for (size_t step : {size_t{1}, size_t{7}, size_t{99}, size_t{100}}) {
    std::set<std::string> names;
    uint64_t cookie = 0;
    bool eof = false;
    while (!eof) {
      auto taken = Take(kRootInode, cookie, step, &eof);
      for (const Listed& entry : taken) EXPECT_TRUE(names.insert(entry.name).second);
      if (!taken.empty()) cookie = taken.back().cookie;
      ASSERT_TRUE(!taken.empty() || eof);
    }
    EXPECT_EQ(names.size(), 100u) << step;
  }
}

TEST_F(DirectoryTest, NotEndedWhenTheVisitorRefusedTheLastEntry) {
  Fill(kRootInode, 3);
  bool eof = true;
  EXPECT_EQ(Take(kRootInode, 0, 2, &eof).size(), 2u);
  EXPECT_FALSE(eof);
}

TEST_F(DirectoryTest, AfterTheLastCookieThereIsNothing) {
  Fill(kRootInode, 10);
  bool eof = false;
  if (Can(Feature::kAnyCookie)) {
    EXPECT_TRUE(Take(kRootInode, ~uint64_t{0}, 10, &eof).empty());
    EXPECT_TRUE(eof);
  }
  uint64_t last = Take(kRootInode, 0, 100).back().cookie;
  EXPECT_TRUE(Take(kRootInode, last, 10, &eof).empty());
  EXPECT_TRUE(eof);
}

TEST_F(DirectoryTest, ACookieStaysValidWhenItsEntryHasGone) {
  Fill(kRootInode, 50);
  std::vector<Listed> all = Take(kRootInode, 0, 100);
  ASSERT_EQ(all.size(), 50u);
  Must(fs_->Unlink(kKernel, kRootInode, all[20].name));
  std::vector<Listed> rest = Take(kRootInode, all[20].cookie, 100);
  ASSERT_EQ(rest.size(), 29u);
  EXPECT_EQ(rest[0].name, all[21].name);
}

TEST_F(DirectoryTest, OneCallVisitsAtMostTheLimit) {
  Fill(kRootInode, static_cast<int>(fs::kReaddirEntriesMax) + 10);
  bool eof = true;
  EXPECT_LE(Take(kRootInode, 0, 100000, &eof).size(), fs::kReaddirEntriesMax);
  EXPECT_FALSE(eof);
  EXPECT_EQ(List(kRootInode).size(), fs::kReaddirEntriesMax + 10);
}

TEST_F(DirectoryTest, TenThousandEntriesRemovedWhileListingAreEachSeenOnce) {
  constexpr int kCount = 10000;
  Fill(kRootInode, kCount);
  EXPECT_EQ(GetAttr(kRootInode).size, 32u * kCount);
  int removed = 0;
  uint64_t cookie = 0;
  for (bool eof = false; !eof;) {
    std::vector<Listed> taken = Take(kRootInode, cookie, 100, &eof);
    for (const Listed& entry : taken) {
      EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, kRootInode, entry.name)), Err::kOk) << entry.name;
      EXPECT_EQ(ErrOf(fs_->Release(kKernel, entry.ino)), Err::kOk);
      ++removed;
    }
    ASSERT_TRUE(!taken.empty() || eof);
    if (!taken.empty()) cookie = taken.back().cookie;
  }
  EXPECT_EQ(removed, kCount);
  EXPECT_TRUE(List(kRootInode).empty());
}

TEST_F(DirectoryTest, EntriesThatStayAreListedOnceWhileOthersComeAndGo) {
  Fill(kRootInode, 1000);
  std::map<std::string, int> seen;
  uint64_t cookie = 0;
  int round = 0;
  for (bool eof = false; !eof; ++round) {
    std::vector<Listed> taken = Take(kRootInode, cookie, 50, &eof);
    for (const Listed& entry : taken) ++seen[entry.name];
    if (!taken.empty()) cookie = taken.back().cookie;
    ASSERT_LT(round, 1000) << "new entries may be listed, but a listing has to end";
    // Even numbers below 200 go, new ones come.
    if (round < 100) Must(fs_->Unlink(kKernel, kRootInode, "entry-" + std::to_string(2 * round)));
    MakeFile(kRootInode, "new-" + std::to_string(round));
  }
  for (int i = 0; i < 1000; ++i) {
    std::string name = "entry-" + std::to_string(i);
    if (i < 200 && i % 2 == 0) {
      EXPECT_LE(seen[name], 1) << name;
    } else {
      EXPECT_EQ(seen[name], 1) << name;
    }
  }
}

TEST_F(DirectoryTest, TheSameNameMayComeAndGoManyTimes) {
  for (int i = 0; i < 200; ++i) {
    InodeId ino = MakeFile(kRootInode, "again");
    Must(fs_->Unlink(kKernel, kRootInode, "again"));
    Must(fs_->Release(kKernel, ino));
  }
  EXPECT_TRUE(List(kRootInode).empty());
  EXPECT_EQ(GetAttr(kRootInode).size, 0u);
}

TEST_F(DirectoryTest, DeepPathsWork) {
  InodeId dir = kRootInode;
  std::vector<InodeId> path = {dir};
  for (int i = 0; i < 300; ++i) path.push_back(dir = MakeDir(dir, "d"));
  for (size_t i = path.size() - 1; i > 0; --i) EXPECT_EQ(Find(path[i], ".."), path[i - 1]);
  for (size_t i = path.size() - 1; i > 0; --i)
    EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, path[i - 1], "d")), Err::kOk);
}

}  // namespace
}  // namespace prism::conformance
