// Going back to a snapshot in one place alone.
#include <fmt/format.h>

#include <random>

#include "tests/merge/merge_fixture.h"

namespace prism::mergetest {
namespace {

using test::Must;

class RollbackPathTest : public MergeTest {
 protected:
  RollbackPathTest() {
    Must(host_->Create("v", false));
    for (const char* dir : {"/p", "/p/d", "/p/d/e", "/out"}) MakeDir("v", dir);
    for (const char* name : {"/p/a", "/p/b", "/p/d/c", "/p/d/e/f", "/out/x"})
      Put("v", name, std::string("first ") + name);
    Link("v", "/p/a", "/out/a");
    Link("v", "/p/b", "/out/b");
    Must(host_->Snapshot({"v@1"}, 0));
  }
  fs::MergeReport GoBack(const std::string& path) {
    const fs::MergeReport report = Must(host_->RollbackPath("v@1", path));
    EXPECT_TRUE(report.done);
    CheckConsistent("v");
    return report;
  }
  // What is at and below a path, by content and owner.
  std::map<std::string, std::string> Below(const std::string& volume, const std::string& path) {
    std::map<std::string, std::string> below;
    for (const auto& [name, file] : Read(volume))
      if (name == path || name.starts_with(path + "/"))
        below[name] = fmt::format("{} {}", file.attr.uid, file.content);
    return below;
  }
  std::map<std::string, std::string> NotBelow(const std::string& volume, const std::string& path) {
    std::map<std::string, std::string> rest;
    for (const auto& [name, file] : Read(volume))
      if (name != path && !name.starts_with(path + "/"))
        rest[name] = fmt::format("{} {} {}", file.attr.ino, file.attr.uid, file.content);
    return rest;
  }
};

TEST_F(RollbackPathTest, OnlyThePlaceGoesBack) {
  const InodeId c = Find("v", "/p/d/c");
  Write("v", "/p/d/c", "second");
  Own("v", "/p/d", 5);
  Put("v", "/p/d/new", "new");
  Remove("v", "/p/d/e/f");
  Remove("v", "/p/d/e");
  Write("v", "/out/x", "second");
  const auto rest = NotBelow("v", "/p/d");
  const fs::MergeReport report = GoBack("/p/d");
  EXPECT_EQ(Below("v", "/p/d"), Below("v@1", "/p/d"));
  EXPECT_EQ(NotBelow("v", "/p/d"), rest);
  EXPECT_EQ(Find("v", "/p/d/c"), c);
  Must(host_->Rollback(report.kept));
  EXPECT_TRUE(Exists("v", "/p/d/new"));
  Reopen();
  EXPECT_EQ(Read("v").at("/out/x").content, "second");
  // One file; and one that is gone.
  GoBack("/p/d/c");
  EXPECT_EQ(Read("v").at("/p/d/c").content, "first /p/d/c");
  EXPECT_TRUE(Exists("v", "/p/d/new"));
  GoBack("/p/d/e");
  EXPECT_TRUE(Exists("v", "/p/d/e/f"));
}

TEST_F(RollbackPathTest, WhatHasNamesOutsideStaysAsItIsThere) {
  const InodeId a = Find("v", "/p/a");
  Write("v", "/out/a", "second");
  GoBack("/p");
  EXPECT_EQ(Read("v").at("/p/a").content, "first /p/a");
  EXPECT_EQ(Read("v").at("/out/a").content, "second");
  EXPECT_NE(Find("v", "/p/a"), a);
  EXPECT_EQ(Find("v", "/out/a"), a);
  EXPECT_EQ(Find("v", "/p/b"), Find("v", "/out/b")) << "it has not changed";
}

TEST_F(RollbackPathTest, WhatWasMovedOutComesBackAsAnother) {
  Move("v", "/p/d", "/out/d");
  Write("v", "/out/d/c", "second");
  MakeDir("v", "/in");
  Put("v", "/in/deep", "deep");
  Move("v", "/in", "/p/in");
  Move("v", "/out/x", "/p/x");
  GoBack("/p");
  EXPECT_EQ(Below("v", "/p"), Below("v@1", "/p"));
  EXPECT_EQ(Read("v").at("/out/d/c").content, "second");
  EXPECT_TRUE(Exists("v", "/out/d/e/f"));
  EXPECT_NE(Find("v", "/out/d/e"), Find("v", "/p/d/e"));
  EXPECT_NE(Find("v", "/out/d/e/f"), Find("v", "/p/d/e/f"));
  EXPECT_FALSE(Exists("v", "/out/x")) << "it went with the place that it was moved into";
  // The place itself moved away.
  Move("v", "/p", "/out/p");
  GoBack("/p");
  EXPECT_EQ(Below("v", "/p"), Below("v@1", "/p"));
  EXPECT_TRUE(Exists("v", "/out/p/d/e/f"));
}

TEST_F(RollbackPathTest, Errors) {
  auto code = [&](const char* snapshot, const char* path) {
    return host_->RollbackPath(snapshot, path).error().code;
  };
  EXPECT_EQ(code("v", "/p"), Err::kInvalid);
  EXPECT_EQ(code("v@9", "/p"), Err::kNoEntry);
  for (const char* path : {"", "p", "/", "/p/../p", "//"})
    EXPECT_EQ(code("v@1", path), Err::kInvalid) << path;
  for (const char* path : {"/none", "/p/none/x", "/p/a/x"})
    EXPECT_EQ(code("v@1", path), Err::kNoEntry) << path;
  Move("v", "/p/d", "/out/d");
  EXPECT_EQ(code("v@1", "/p/d/c"), Err::kNoEntry) << "what it was in is gone";
  EXPECT_EQ(host_->List().size(), 2u);
}

// Whatever happened: below the place all is as in the snapshot, and elsewhere nothing has changed.
TEST_F(RollbackPathTest, Random) {
  std::mt19937_64 random(3);
  auto up = [&](uint64_t end) { return random() % end; };
  for (int round = 0; round < 20 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    for (int step = 0; step < 10; ++step) {
      auto files = Attach("v");
      const Files all = Read("v");
      auto pick = [&](bool dir) {
        for (;;) {
          auto file = std::next(all.begin(), static_cast<int64_t>(up(all.size())));
          if (!dir || file->second.attr.type == fs::FileType::kDirectory) return file->first;
        }
      };
      const std::string dir = pick(true), name = fmt::format("n{}", up(5)), from = pick(false);
      const std::string to = (dir == "/" ? "" : dir) + "/" + name;
      const std::string above = from.substr(0, from.rfind('/'));
      const InodeId from_dir = all.at(above.empty() ? "/" : above).attr.ino;
      const std::string entry = from.substr(from.rfind('/') + 1);
      switch (up(6)) {
        case 0:
          if (!all.contains(to)) Put("v", to, to);
          break;
        case 1:
          if (!all.contains(to)) MakeDir("v", to);
          break;
        case 2:
          (void)files->Link(kAll, all.at(from).attr.ino, all.at(dir).attr.ino, name);
          break;
        case 3:
          if (from != "/" && from != "/p")
            (void)files->Rename(kAll, from_dir, entry, all.at(dir).attr.ino, name, 0);
          break;
        case 4:
          if (from != "/") (void)files->Unlink(kAll, from_dir, entry);
          break;
        default:
          if (all.at(from).attr.type == fs::FileType::kRegular)
            Write("v", from, fmt::format("{} {}", round, step));
      }
    }
    const auto rest = NotBelow("v", "/p");
    GoBack("/p");
    EXPECT_EQ(Below("v", "/p"), Below("v@1", "/p"));
    EXPECT_EQ(NotBelow("v", "/p"), rest);
  }
}

}  // namespace
}  // namespace prism::mergetest
