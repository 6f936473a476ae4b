// Rebase and merge, case by case.
#include <fmt/format.h>

#include "tests/merge/merge_fixture.h"

namespace prism::mergetest {
namespace {

using fs::OnConflict;
using test::Must;

class RebaseTest : public MergeTest {
 protected:
  RebaseTest() {
    Must(host_->Create("base", false));
    MakeDir("base", "/etc");
    MakeDir("base", "/usr");
    for (const char* name : {"/etc/a", "/etc/b", "/etc/c", "/usr/x", "/usr/y"})
      Put("base", name, std::string("first ") + name);
    Must(host_->Snapshot({"base@1"}, 0));
    Must(host_->Clone("base@1", {"web"}));
  }
  void Publish(const char* label = "base@2") { Must(host_->Snapshot({label}, 0)); }
  std::string Data(const std::string& path) { return Read("web").at(path).content; }
  std::vector<std::string> Conflicts(const fs::MergeReport& report) {
    std::vector<std::string> lines;
    for (const fs::MergeConflict& conflict : report.conflicts)
      lines.push_back(conflict.path + ": " + conflict.mine + " / " + conflict.theirs);
    return lines;
  }
};

TEST_F(RebaseTest, KeepsItsOwnChangesAndTakesTheNewBase) {
  const InodeId own = Put("web", "/etc/own", std::string(200000, 'o'));
  Write("web", "/etc/a", "mine");
  Own("web", "/etc/b", 7);
  Move("web", "/usr/x", "/etc/x");
  Remove("web", "/usr/y");
  Write("base", "/etc/b", "theirs b");
  Replace("base", "/etc/c", "theirs c");
  Write("base", "/usr/x", "theirs x");
  Put("base", "/usr/new", "new");
  MakeDir("base", "/opt");
  Put("base", "/opt/deep", "deep");
  Publish();
  const fs::MergeReport dry = Rebase("web", "base@2", {.dry_run = true});
  EXPECT_FALSE(dry.done);
  EXPECT_EQ(Data("/etc/b"), "first /etc/b");
  const fs::MergeReport report = Rebase("web", "base@2");
  EXPECT_TRUE(report.done);
  EXPECT_EQ(report.from, "base@1");
  EXPECT_EQ(Conflicts(report), std::vector<std::string>());
  for (const fs::MergeReport* counted : {&dry, &report}) {
    EXPECT_EQ(counted->added, 1u);
    EXPECT_EQ(counted->removed, 1u);
    EXPECT_EQ(counted->renamed, 1u);
    EXPECT_EQ(counted->changed, 2u);
  }
  EXPECT_EQ(Data("/etc/own"), std::string(200000, 'o'));
  EXPECT_EQ(Find("web", "/etc/own"), own);
  EXPECT_EQ(Data("/etc/a"), "mine");
  EXPECT_EQ(Data("/etc/b"), "theirs b");
  EXPECT_EQ(Read("web").at("/etc/b").attr.uid, 7u);
  EXPECT_EQ(Data("/etc/c"), "theirs c");
  EXPECT_EQ(Data("/etc/x"), "theirs x");
  EXPECT_EQ(Data("/opt/deep"), "deep");
  EXPECT_FALSE(Exists("web", "/usr/x"));
  EXPECT_FALSE(Exists("web", "/usr/y"));
  CheckConsistent("web");
  CheckConsistent("base");
  // What it has now is counted from the new base.
  Write("base", "/etc/b", "third");
  Publish("base@3");
  EXPECT_EQ(Rebase("web", "base@3").from, "base@2");
  EXPECT_EQ(Data("/etc/b"), "third");
  EXPECT_EQ(Data("/etc/a"), "mine");
  CheckConsistent("web");
  Reopen();
  EXPECT_EQ(Data("/etc/b"), "third");
  EXPECT_EQ(host_->List().size(), 7u) << "no hidden clone is left";
}

TEST_F(RebaseTest, IsUndoneByOneRollback) {
  Write("web", "/etc/a", "mine");
  Write("base", "/etc/b", "theirs");
  Publish();
  const Files before = Read("web");
  const fs::MergeReport report = Rebase("web", "base@2", {.keep = "safe"});
  EXPECT_EQ(report.kept, "web@safe");
  EXPECT_EQ(Data("/etc/b"), "theirs");
  Must(host_->Rollback("web@safe"));
  EXPECT_EQ(Data("/etc/b"), "first /etc/b");
  EXPECT_EQ(Data("/etc/a"), "mine");
  ExpectSame("web", "web@safe");
  // And it is counted from the old base again.
  const fs::MergeReport again = Rebase("web", "base@2");
  EXPECT_EQ(again.from, "base@1");
  EXPECT_TRUE(again.done);
  EXPECT_EQ(Data("/etc/b"), "theirs");
  EXPECT_EQ(host_->Rebase({"web"}, "base@1", {.keep = "safe"}).error().code, Err::kExists);
}

TEST_F(RebaseTest, ConflictsAreListedAndNothingIsDone) {
  Write("web", "/etc/a", "mine");
  Remove("web", "/etc/b");
  Move("web", "/etc/c", "/etc/mine");
  Put("web", "/etc/new", "mine");
  Own("web", "/usr", 5);
  Write("base", "/etc/a", "theirs");
  Write("base", "/etc/b", "theirs");
  Move("base", "/etc/c", "/etc/theirs");
  Put("base", "/etc/new", "theirs");
  Own("base", "/usr", 6);
  Publish();
  const Files before = Read("web");
  const fs::MergeReport report = Rebase("web", "base@2");
  EXPECT_FALSE(report.done);
  EXPECT_EQ(report.kept, "");
  EXPECT_EQ(Conflicts(report),
            (std::vector<std::string>{
                "/etc/a: changed data / changed data", "/etc/b: deleted / changed data",
                "/etc/mine: renamed to /etc/mine / renamed to /etc/theirs",
                "/etc/new: added / added", "/usr: changed attributes / changed attributes"}));
  EXPECT_EQ(report.conflict_count, 5u);
  EXPECT_EQ(host_->List().size(), 4u);
  EXPECT_EQ(Data("/etc/a"), "mine");
  Must(host_->Clone("web", {"other"}));
  EXPECT_TRUE(Rebase("web", "base@2", {.on_conflict = OnConflict::kMine}).done);
  EXPECT_EQ(Data("/etc/a"), "mine");
  EXPECT_FALSE(Exists("web", "/etc/b"));
  EXPECT_TRUE(Exists("web", "/etc/mine") && !Exists("web", "/etc/theirs"));
  EXPECT_EQ(Data("/etc/new"), "mine");
  EXPECT_EQ(Read("web").at("/usr").attr.uid, 5u);
  CheckConsistent("web");
  EXPECT_TRUE(Rebase("other", "base@2", {.on_conflict = OnConflict::kTheirs}).done);
  ExpectSame("other", "base@2");
  CheckConsistent("other");
}

TEST_F(RebaseTest, BothHaveDoneTheSame) {
  for (const char* volume : {"web", "base"}) {
    Write(volume, "/etc/a", "same");
    Replace(volume, "/etc/b", "same");
    Put(volume, "/etc/new", "same");
    MakeDir(volume, "/opt");
    Put(volume, "/opt/same", "same");
    Put(volume, std::string("/opt/of-") + volume, volume);
    Remove(volume, "/usr/y");
    Move(volume, "/usr/x", "/usr/z");
  }
  Publish();
  const fs::MergeReport report = Rebase("web", "base@2");
  EXPECT_EQ(Conflicts(report), std::vector<std::string>());
  EXPECT_EQ(Data("/opt/of-web"), "web");
  EXPECT_EQ(Data("/opt/of-base"), "base");
  EXPECT_EQ(Find("web", "/opt"), Find("base", "/opt"));
  CheckConsistent("web");
}

// Editors and package managers write another file and rename it.
TEST_F(RebaseTest, AFileThatWasReplacedIsTheSameFile) {
  Own("web", "/etc/a", 7);  // attributes in place, data replaced
  Replace("base", "/etc/a", "new a");
  Replace("web", "/etc/b", "new b");  // the other way round
  Own("base", "/etc/b", 8);
  Replace("web", "/etc/c", "mine");  // both
  Replace("base", "/etc/c", "theirs");
  Write("web", "/usr/x", "mine");
  Replace("base", "/usr/x", "theirs");
  Publish();
  const fs::MergeReport report = Rebase("web", "base@2", {.on_conflict = OnConflict::kMine});
  EXPECT_EQ(Conflicts(report), (std::vector<std::string>{"/etc/c: changed data / changed data",
                                                         "/usr/x: changed data / changed data"}));
  EXPECT_EQ(Data("/etc/a"), "new a");
  EXPECT_EQ(Read("web").at("/etc/a").attr.uid, 7u);
  EXPECT_EQ(Data("/etc/b"), "new b");
  EXPECT_EQ(Read("web").at("/etc/b").attr.uid, 8u);
  EXPECT_EQ(Data("/etc/c"), "mine");
  EXPECT_EQ(Data("/usr/x"), "mine");
  CheckConsistent("web");
}

TEST_F(RebaseTest, Directories) {
  // Deleted here, something put into it there; and the other way round.
  MakeDir("base", "/gone");
  MakeDir("base", "/left");
  MakeDir("base", "/p");
  MakeDir("base", "/q");
  Publish("base@d");
  Must(host_->Clone("base@d", {"w"}));
  Remove("w", "/gone");
  Put("w", "/left/mine", "m");
  MakeDir("w", "/left/sub");
  Put("w", "/left/sub/deep", "m");
  Move("w", "/p", "/q/p");
  Put("base", "/gone/theirs", "t");
  Remove("base", "/left");
  Move("base", "/q", "/p/q");
  Publish();
  Must(host_->Clone("w", {"v"}));
  const fs::MergeReport report = Rebase("w", "base@2", {.on_conflict = OnConflict::kMine});
  EXPECT_EQ(report.conflicts[0].path, "/gone/theirs");
  EXPECT_FALSE(Exists("w", "/gone"));
  EXPECT_TRUE(Exists("w", "/left/sub/deep") && Exists("w", "/left/mine"));
  EXPECT_TRUE(Exists("w", "/q/p") && !Exists("w", "/p"));
  CheckConsistent("w");
  EXPECT_GE(Rebase("v", "base@2", {.on_conflict = OnConflict::kTheirs}).conflict_count, 4u);
  EXPECT_TRUE(Exists("v", "/gone/theirs"));
  EXPECT_FALSE(Exists("v", "/left"));
  EXPECT_TRUE(Exists("v", "/p/q") && !Exists("v", "/q"));
  CheckConsistent("v");
}

TEST_F(RebaseTest, HardLinksAndExtendedAttributes) {
  Link("base", "/etc/a", "/usr/a");
  Publish("base@l");
  Must(host_->Clone("base@l", {"w"}));
  Must(Attach("w")->Setxattr(kAll, Find("w", "/etc/a"), "user.x", "1", fs::XattrMode::kSet));
  Link("w", "/etc/b", "/usr/b");
  Write("base", "/etc/a", "theirs");
  Remove("base", "/etc/b");
  Put("base", "/etc/b", "other");
  Link("base", "/etc/b", "/usr/other");
  Publish();
  fs::MergeReport report = Rebase("w", "base@2");
  EXPECT_EQ(report.conflict_count, 1u);
  EXPECT_TRUE(Rebase("w", "base@2", {.on_conflict = OnConflict::kMine}).done);
  const Files files = Read("w");
  EXPECT_EQ(files.at("/usr/a").content, "theirs");
  EXPECT_EQ(files.at("/usr/a").xattrs.at("user.x"), "1");
  EXPECT_EQ(files.at("/usr/b").content, "first /etc/b");
  EXPECT_EQ(files.at("/etc/b").attr.ino, files.at("/usr/b").attr.ino);
  CheckConsistent("w");
}

TEST_F(RebaseTest, WhatItIsCountedFrom) {
  // From a live volume that goes on: nothing has kept what it was.
  Must(host_->Clone("base", {"live"}));
  EXPECT_TRUE(Rebase("live", "base@1").done) << "base has not changed since its snapshot";
  Write("base", "/etc/a", "between");
  Must(host_->Clone("base", {"late"}));
  Write("base", "/etc/a", "after");
  Publish();
  auto gone = host_->Rebase({"late"}, "base@2", {});
  EXPECT_EQ(gone.error().code, Err::kNoEntry);
  EXPECT_NE(gone.error().message.find("--from"), std::string::npos);
  EXPECT_EQ(host_->Rebase({"late"}, "base@2", {.from = "base@2"}).error().code, Err::kInvalid);
  EXPECT_EQ(Rebase("late", "base@2", {.from = "base@1"}).conflict_count, 1u)
      << "an older one is safe: it only knows less";
  // There and back.
  Put("web", "/own", "own");
  EXPECT_TRUE(Rebase("web", "base@2").done);
  EXPECT_EQ(Data("/etc/a"), "after");
  EXPECT_TRUE(Rebase("web", "base@2").kept.empty()) << "nothing to do";
  EXPECT_TRUE(Rebase("web", "base@1", {.from = "base@2"}).done);
  EXPECT_EQ(Data("/etc/a"), "first /etc/a");
  EXPECT_EQ(Data("/own"), "own");
  CheckConsistent("web");
  // Not related, not there, not to be changed.
  Must(host_->Create("alone", false));
  EXPECT_EQ(host_->Rebase({"alone"}, "base@2", {}).error().code, Err::kInvalid);
  EXPECT_EQ(host_->Rebase({"none"}, "base@2", {}).error().code, Err::kNoEntry);
  EXPECT_EQ(host_->Rebase({"web"}, "base@9", {}).error().code, Err::kNoEntry);
  EXPECT_EQ(host_->Rebase({"base@1"}, "base@2", {}).error().code, Err::kInvalid);
  EXPECT_EQ(host_->Rebase({"web", "web"}, "base@2", {}).error().code, Err::kInvalid);
  EXPECT_EQ(host_->Rebase({}, "base@2", {}).error().code, Err::kInvalid);
}

TEST_F(RebaseTest, SeveralAreDoneWhereAllCanBe) {
  Must(host_->Clone("base@1", {"w1", "w2"}));
  Write("w2", "/etc/a", "mine");
  Write("base", "/etc/a", "theirs");
  Publish();
  auto reports = Must(host_->Rebase({"w1", "w2"}, "base@2", {}));
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_TRUE(!reports[0].done && !reports[1].done);
  EXPECT_EQ(Read("w1").at("/etc/a").content, "first /etc/a");
  reports = Must(host_->Rebase({"w1", "w2"}, "base@2", {.on_conflict = OnConflict::kMine}, "key"));
  EXPECT_TRUE(reports[0].done && reports[1].done);
  EXPECT_EQ(Read("w1").at("/etc/a").content, "theirs");
  // The same request again, after a restart too, does nothing again.
  Reopen();
  const size_t volumes = host_->List().size();
  Must(host_->Rollback(reports[0].kept));
  reports = Must(host_->Rebase({"w1", "w2"}, "base@2", {.on_conflict = OnConflict::kMine}, "key"));
  EXPECT_TRUE(reports[0].done && reports[1].done);
  EXPECT_EQ(Read("w1").at("/etc/a").content, "first /etc/a");
  EXPECT_EQ(host_->List().size(), volumes);
  EXPECT_EQ(host_->Rebase({"w1"}, "base@1", {}, "key").error().code, Err::kInvalid);
}

TEST_F(RebaseTest, AMergeGoesIntoTheParent) {
  Must(host_->Snapshot({"web@cut"}, 0));
  Must(host_->Clone("web@cut", {"child"}));
  Write("child", "/etc/a", "child");
  Put("child", "/etc/new", "new");
  Write("web", "/etc/b", "parent");
  const fs::MergeReport report = Must(host_->Merge("child", "web", {}));
  EXPECT_TRUE(report.done);
  EXPECT_EQ(report.volume, "web");
  EXPECT_EQ(report.from, "web@cut");
  EXPECT_EQ(Data("/etc/a"), "child");
  EXPECT_EQ(Data("/etc/b"), "parent");
  EXPECT_EQ(Data("/etc/new"), "new");
  EXPECT_EQ(Read("child").at("/etc/b").content, "first /etc/b");
  CheckConsistent("web");
  EXPECT_TRUE(Must(host_->Merge("child", "web", {})).done) << "both have it";
  Must(host_->Rollback(report.kept));
  EXPECT_EQ(Data("/etc/a"), "first /etc/a");
  EXPECT_EQ(host_->Merge("child", "web@cut", {}).error().code, Err::kInvalid);
  EXPECT_EQ(host_->Merge("web", "web", {}).error().code, Err::kInvalid);
}

// 10 changes among 10^5 files: as many records as among 10^3.
TEST_F(RebaseTest, CostsWhatTheChangesCost) {
  auto base = Attach("base");
  std::vector<InodeId> files;
  std::vector<uint64_t> records;
  for (int size : {1000, 100000}) {
    InodeId dir = 0;
    while (files.size() < static_cast<size_t>(size)) {
      if (files.size() % 1000 == 0)
        dir = Put("base", fmt::format("/d{}", files.size()), {}, fs::FileType::kDirectory);
      fs::CreateArgs args;
      args.parent = dir;
      const std::string name = fmt::format("f{}", files.size());
      args.name = name;
      files.push_back(Must(base->Create(kAll, args)).attr.ino);
    }
    const std::string before = fmt::format("base@o{}", size), after = fmt::format("base@n{}", size);
    const std::string clone = fmt::format("c{}", size);
    Must(host_->Snapshot({before}, 0));
    Must(host_->Clone(before, {clone}));
    auto own = Attach(clone);
    for (int i = 0; i < 20; ++i) {
      fs::SetAttr changes;
      changes.uid = static_cast<uint32_t>(i + 1);
      Must((i % 2 == 0 ? base : own)->Setattr(kAll, files[i * files.size() / 20], changes));
    }
    Must(host_->Snapshot({after}, 0));
    Must(host_->Checkpoint());
    const uint64_t records_before = host_->Stats().journal_records;
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(Rebase(clone, after).changed, 10u);
    const auto took = std::chrono::steady_clock::now() - start;
    records.push_back(host_->Stats().journal_records - records_before);
    std::printf(
        "%d files: %lu records, %ld us\n", size, records.back(),
        static_cast<long>(std::chrono::duration_cast<std::chrono::microseconds>(took).count()));
  }
  EXPECT_EQ(records[0], records[1]);
  EXPECT_LE(records[1], 12u);
}

}  // namespace
}  // namespace prism::mergetest
