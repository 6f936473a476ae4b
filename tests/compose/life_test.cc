// Composed volumes among others: clones, snapshots, rollbacks, ends, restarts, and parts of parts.
#include "tests/compose/fixture.h"

namespace prism::compose {
namespace {

using fs::FileOrigin;

TEST_F(Compose, ClonesAndSnapshotsHaveTheSamePartsAndTheirOwnChanges) {
  MakeSource("source");
  Must(Make("new", "", {Graft("source", "/a", "/a")}));
  Tree made = Attach("new");
  made.Write("/a/small", "BIG");
  const auto before = made.Describe("");
  Must(host_->Snapshot({"new@then"}, 0));
  Must(host_->Clone("new", {"twin"}));
  made.Write("/a/small", "other");
  EXPECT_EQ(made.Unlink("/a/sub/file"), Err::kOk);
  EXPECT_EQ(Attach("twin").Describe(""), before);
  EXPECT_EQ(Attach("new@then").Describe(""), before);
  const fs::DiffResult diff = Must(host_->Diff("new@then", "new", {.content = true}));
  ASSERT_EQ(diff.changes.size(),
            4u);  // two names of the changed file, the removed one, its directory
  EXPECT_EQ(diff.removed, 1u);
  EXPECT_EQ(ErrOf(host_->Diff("source", "new", {})), Err::kNotSupported);
  Must(host_->Rollback("new@then"));
  EXPECT_EQ(Attach("new").Describe(""), before);
  EXPECT_EQ(Must(host_->Diff("twin", "new", {})).changes.size(), 0u);
}

TEST_F(Compose, TheLastUserTakesThePartsAlongAndAllSpaceComesBack) {
  Must(host_->Drain());
  const fs::StoreStats empty = host_->Stats();
  for (const std::string order : {"snt", "nst", "tns", "tsn"}) {
    MakeSource("s");
    Must(Make("n", "", {Graft("s", "/a", "/a"), Graft("s", "/deep", "/d")}));
    Must(host_->Clone("n", {"t"}));
    Attach("n").Write("/a/small", "changed in n");
    Attach("t").Write("/d/er/file", "changed in t");
    for (const char name : order) {
      Must(host_->Destroy({std::string(1, name)}));
      if (order.find(name) == 1) Reopen();
      for (const auto& left : host_->List()) Attach(left.name).Describe("");
    }
    Must(host_->Drain());
    EXPECT_EQ(host_->Stats().nodes, empty.nodes) << order;
    EXPECT_EQ(host_->Stats().stored_bytes, empty.stored_bytes) << order;
    EXPECT_EQ(host_->Stats().chunks, empty.chunks) << order;
  }
}

TEST_F(Compose, WhatWouldComeBackKnowsTheParts) {
  MakeSource("s");
  Must(Make("n", "", {Graft("s", "/a", "/a")}));
  Must(host_->Clone("n", {"t"}));
  Must(host_->Destroy({"s"}));
  Must(host_->Drain());
  const uint64_t one = Must(host_->WouldFree({"n"}, false)).bytes;
  const uint64_t both = Must(host_->WouldFree({"n", "t"}, false)).bytes;
  EXPECT_GT(both, one + 1000);
  const uint64_t before = host_->Stats().stored_bytes;
  Must(host_->Destroy({"n", "t"}));
  Must(host_->Drain());
  EXPECT_LE(before - host_->Stats().stored_bytes, both);
  EXPECT_EQ(host_->Stats().stored_bytes, 0u);
}

TEST_F(Compose, PartsOfParts) {
  MakeSource("source");
  Must(Make("one", "", {Graft("source", "/a", "/x/a"), Graft("source", "/deep", "/x/d")}));
  Tree one = Attach("one");
  one.Write("/x/a/small", "by one");
  one.Write("/x/a/new", "new in one");
  EXPECT_EQ(one.Unlink("/x/a/link"), Err::kOk);
  EXPECT_EQ(one.Rename("/x/d/er", "/x/a/er"), Err::kOk);  // from one part into the other
  const auto expected = one.Describe("/x");
  Must(Make("two", "", {Graft("one", "/x", "/y/x"), Graft("source", "/b", "/b")}));
  Must(Make("three", "one", {Graft("two", "/y", "/z")}));
  Must(host_->Destroy({"source", "one"}));
  one.Detach();
  Reopen();
  EXPECT_EQ(Attach("two").Describe("/y/x"), expected);
  Tree three = Attach("three");
  EXPECT_EQ(three.Describe("/z/x"), expected);
  EXPECT_EQ(three.Describe("/x"), expected);
  three.Write("/z/x/a/er/file", "three");
  EXPECT_EQ(Attach("two").Read("/y/x/a/er/file"), "deep");
  EXPECT_EQ(three.Unlink("/z/x/a/sub/file"), Err::kOk);
  EXPECT_EQ(three.Unlink("/z/x/a/sub/small-too"), Err::kOk);
  EXPECT_EQ(three.Unlink("/z/x/a/sub"), Err::kOk);
  Attach("two").Inodes();
  three.Detach();  // it holds what it has unlinked
  three = Attach("three");
  const auto inside = three.Inodes();
  for (const InodeId ino : AllNumbers(10))
    EXPECT_EQ(ErrOf(three.files().Getattr(kRoot, ino)),
              inside.contains(ino) ? Err::kOk : Err::kStale);
  three.Detach();
  Must(host_->Destroy({"two", "three"}));
  Must(host_->Drain());
  EXPECT_EQ(host_->Stats().stored_bytes, 0u);
}

TEST_F(Compose, PartsWithinEachOtherHaveALimit) {
  Create("d0");
  Attach("d0").Write("/f", "x");
  for (int i = 1; i <= 16; ++i) {
    const std::string name = "d" + std::to_string(i);
    Must(Make(name, "", {Graft("d" + std::to_string(i - 1), "/", "/d")}));
  }
  std::string path;
  for (int i = 0; i < 16; ++i) path += "/d";
  EXPECT_EQ(Attach("d16").Read(path + "/f"), "x");
  EXPECT_EQ(ErrOf(Make("d17", "", {Graft("d16", "/", "/d")})), Err::kTooBig);
  EXPECT_EQ(host_->List().size(), 17u);
}

TEST_F(Compose, ReadOnlyPartsStayAsTheyAre) {
  MakeSource("source");
  Must(Make("new", "", {Graft("source", "/a", "/a", true), Graft("source", "/deep", "/deep")}));
  Tree made = Attach("new");
  const auto before = made.Describe("/a");
  fs::FileSystem& files = made.files();
  const InodeId small = made.Ino("/a/small"), dir = made.Ino("/a");
  std::byte bytes[4]{};
  fs::WriteArgs write;
  write.ino = small;
  write.data = bytes;
  EXPECT_EQ(ErrOf(files.Write(kRoot, write)), Err::kReadOnly);
  fs::SetAttr change;
  change.mode = 0600;
  EXPECT_EQ(ErrOf(files.Setattr(kRoot, small, change)), Err::kReadOnly);
  change = {};
  change.size = 1;
  EXPECT_EQ(ErrOf(files.Setattr(kRoot, small, change)), Err::kReadOnly);
  fs::CreateArgs create;
  create.parent = dir;
  create.name = "new";
  EXPECT_EQ(ErrOf(files.Create(kRoot, create)), Err::kReadOnly);
  EXPECT_EQ(made.Unlink("/a/small"), Err::kReadOnly);
  EXPECT_EQ(made.Rename("/a/small", "/small"), Err::kReadOnly);
  EXPECT_EQ(made.Rename("/deep/er/file", "/a/file"), Err::kReadOnly);
  EXPECT_EQ(made.Rename("/a", "/b"), Err::kReadOnly);
  EXPECT_EQ(ErrOf(files.Link(kRoot, small, kRootInode, "linked")), Err::kReadOnly);
  EXPECT_EQ(ErrOf(files.Setxattr(kRoot, small, "user.x", "y", fs::XattrMode::kSet)),
            Err::kReadOnly);
  EXPECT_EQ(ErrOf(files.Fallocate(kRoot, small, fs::FallocateMode::kAllocate, 0, 100)),
            Err::kReadOnly);
  EXPECT_EQ(Must(files.Access(kRoot, small, 7)) & 2, 0u);
  made.Write("/deep/er/file", "others can be written");
  EXPECT_EQ(made.Rename("/deep/er/file", "/file"), Err::kOk);
  EXPECT_EQ(made.Describe("/a"), before);
  Must(host_->Flush());
}

TEST_F(Compose, VolatileDirectoriesAreEmptyInClones) {
  MakeSource("source");
  Attach("source").Write("/a/sub/seen", "by the source alone");
  Must(Make("new", "source", {Volatile("/a/sub"), Volatile("/tmp")}));
  Tree made = Attach("new");
  EXPECT_EQ(made.Names("/a/sub").size(), 0u);
  made.Write("/tmp/here", "temporary");
  made.Write("/a/sub/here", "temporary");
  Must(host_->Snapshot({"new@x"}, 0));
  Must(host_->Clone("new", {"twin"}));
  Must(host_->Clone("new@x", {"of-snapshot"}));
  Must(Make("again", "new", {Graft("new", "/", "/all")}));
  made.Write("/keep", "kept");
  for (const char* name : {"new@x", "twin", "of-snapshot", "again"}) {
    Tree tree = Attach(name);
    EXPECT_EQ(tree.Names("/tmp").size(), 0u) << name;
    EXPECT_EQ(tree.Names("/a/sub").size(), 0u) << name;
    EXPECT_EQ(tree.Read("/b/secret"), "nobody's business") << name;
    for (const auto& [ino, path] : made.Inodes()) {
      if (!path.ends_with("/here")) continue;
      EXPECT_EQ(ErrOf(tree.files().Getattr(kRoot, ino)), Err::kStale);
    }
  }
  EXPECT_EQ(Attach("again").Names("/all/tmp").size(), 0u);
  EXPECT_EQ(made.Read("/tmp/here"), "temporary");
  Attach("twin").Write("/tmp/mine", "stays");
  made.Detach();
  Reopen();
  EXPECT_EQ(Attach("twin").Read("/tmp/mine"), "stays");
  EXPECT_EQ(Attach("new").Read("/tmp/here"), "temporary");
  Must(host_->Rollback("new@x"));
  EXPECT_EQ(Attach("new").Names("/tmp").size(), 0u);
  EXPECT_EQ(ErrOf(Attach("new").Stat("/keep")), Err::kNoEntry);
}

TEST_F(Compose, TotalsAreCountedAndStayExact) {
  MakeSource("source");
  Must(Make("new", "source", {Graft("source", "/a", "/b"), Exclude("/deep"), Exclude("/a/s*")}));
  Tree made = Attach("new");
  made.Write("/b/more", std::string(10'000, 'y'));
  EXPECT_EQ(made.Unlink("/b/big"), Err::kOk);
  Must(host_->Clone("new", {"twin"}));
  made.Detach();
  Attach("twin");
  Must(host_->Flush());
  Must(host_->Drain());  // what was unlinked, and in the clone too
  for (const char* name : {"new", "twin"}) {
    const fs::VolumeInfo info = Counted(name);
    Tree tree = Attach(name);
    uint64_t bytes = 0;
    const auto inodes = tree.Inodes();
    for (const auto& [ino, path] : inodes)
      bytes += Must(tree.files().Getattr(kRoot, ino)).used_bytes;
    EXPECT_EQ(info.inodes, inodes.size()) << name;
    EXPECT_EQ(info.logical_bytes, bytes) << name;
  }
}

TEST_F(Compose, TotalsLackWhatWasInVolatileDirectoriesOfTheSource) {
  MakeSource("source");
  Must(Make("new", "source", {Volatile("/tmp")}));
  Tree made = Attach("new");
  made.MakeDir("/tmp/dir");
  made.Write("/tmp/dir/file", std::string(10'000, 'x'));
  made.Link("/tmp/dir/file", "/tmp/too");
  made.Link("/a/small", "/tmp/small");  // which stays
  Must(host_->Flush());
  const fs::VolumeInfo whole = Counted("new");
  const uint64_t bytes = Must(made.Stat("/tmp/dir/file")).used_bytes;
  Must(host_->Clone("new", {"twin"}));
  EXPECT_EQ(Must(Attach("twin").Stat("/a/small")).nlink, 2u);
  const fs::VolumeInfo twin = Must(host_->Show("twin"));
  EXPECT_EQ(twin.inodes, whole.inodes - 2);
  EXPECT_EQ(twin.logical_bytes, whole.logical_bytes - bytes);
}

TEST_F(Compose, WhatIsExcludedIsNobodysAndFreed) {
  MakeSource("source");
  Tree source = Attach("source");
  const InodeId small = source.Ino("/deep/file-1"), held = source.Ino("/deep/file-2");
  EXPECT_EQ(source.Unlink("/deep/file-2"), Err::kOk);
  Must(Make(
      "new", "source",
      {Graft("source", "/deep", "/ro", true), Exclude("/deep/file-1"), Exclude("/ro/file-1")}));
  Tree made = Attach("new");
  EXPECT_EQ(ErrOf(made.files().Getattr(kRoot, small)), Err::kStale);
  EXPECT_EQ(ErrOf(made.files().Getattr(kRoot, held)), Err::kStale);
  Must(host_->Drain());
  EXPECT_EQ(Counted("new").inodes, made.Inodes().size());
}

TEST_F(Compose, NoNumberIsUsedTwiceByAVolumeAndItsSnapshots) {
  MakeSource("source");
  Must(Make("new", "source", {Volatile("/tmp")}));
  Must(host_->Snapshot({"new@then"}, 0));
  const InodeId of_snapshot = Attach("new@then").Ino("/tmp");
  Tree made = Attach("new");
  for (int i = 0; i < 5; ++i) EXPECT_NE(made.Write("/" + std::to_string(i), "x"), of_snapshot);
  const InodeId last = made.Ino("/4");
  Must(host_->Rollback("new@then"));
  EXPECT_EQ(ErrOf(made.files().Getattr(kRoot, last)), Err::kStale);
}

TEST_F(Compose, ItsStoreIsSound) {
  MakeSource("source");
  Must(Make("new", "", {Graft("source", "/a", "/a")}));
  Tree made = Attach("new");
  fs::SetAttr empty;
  empty.size = 0;
  Must(made.files().Setattr(kRoot, made.Ino("/a/big"), empty));  // its blocks are the part's
  EXPECT_EQ(made.Unlink("/a/sparse"), Err::kOk);
  EXPECT_EQ(Must(host_->Check(true)).damages, std::vector<std::string>());
}

TEST_F(Compose, ItIsToldWhereAFileComesFrom) {
  MakeSource("source");
  Must(Make("one", "", {Graft("source", "/a", "/x")}));
  Must(Make("two", "source", {Graft("one", "/", "/one", true), Empty("/made/here")}));
  Tree two = Attach("two");
  two.Write("/own", "own");
  two.Write("/deep/file-3", "changed");
  auto explain = [&](const std::string& path) { return Must(host_->ExplainFile("two", path)); };
  const fs::Explanation deep = explain("/one/x/sub/file");
  ASSERT_EQ(deep.origins.size(), 2u);
  EXPECT_EQ(deep.origins[0].volume, "one");
  EXPECT_EQ(deep.origins[0].path, "/x/sub/file");
  EXPECT_EQ(deep.origins[0].rule, "--graft one:/=/one,ro");
  EXPECT_TRUE(deep.origins[0].read_only);
  EXPECT_EQ(deep.origins[1].volume, "source");
  EXPECT_EQ(deep.origins[1].path, "/a/sub/file");
  EXPECT_EQ(deep.origins[1].rule, "--graft source:/a=/x");
  EXPECT_FALSE(deep.changed);
  EXPECT_EQ(explain("/own").origins[0].rule, "");
  EXPECT_EQ(explain("/made").origins[0].rule, "--empty /made/here");
  EXPECT_EQ(explain("/deep/file-3").origins[0].rule, "--from source");
  EXPECT_TRUE(explain("/deep/file-3").changed);
  EXPECT_FALSE(explain("/deep/file-4").changed);
  EXPECT_EQ(ErrOf(host_->ExplainFile("two", "/none")), Err::kNoEntry);
  EXPECT_EQ(ErrOf(host_->ExplainFile("two", "made")), Err::kInvalid);
  Attach("one").Write("/x/small", "changed in one");
  EXPECT_TRUE(Must(host_->ExplainFile("one", "/x/small")).changed);
  EXPECT_FALSE(Must(host_->ExplainFile("one", "/x/big")).changed);
}

TEST_F(Compose, WrongRulesMakeNothing) {
  MakeSource("s");
  const std::pair<std::vector<ComposeRule>, Err> wrong[] = {
      {{}, Err::kInvalid},
      {{Graft("none", "/", "/x")}, Err::kNoEntry},
      {{Graft("s", "/none", "/x")}, Err::kNoEntry},
      {{Graft("s", "/a/small/x", "/x")}, Err::kNotDirectory},
      {{Graft("s", "/a", "/")}, Err::kInvalid},
      {{Graft("s", "a", "/x")}, Err::kInvalid},
      {{Graft("s", "/a/../b", "/x")}, Err::kInvalid},
      {{Graft("s", "/a", "/a"), Graft("s", "/b", "/a/small/b")}, Err::kNotDirectory},
      {{Graft("s", "/a", "/a"), Empty("/a/small")}, Err::kNotDirectory},
      {{Exclude("/**/x")}, Err::kInvalid},
      {{Empty("/" + std::string(256, 'n'))}, Err::kNameTooLong},
  };
  for (const auto& [rules, err] : wrong) {
    EXPECT_EQ(ErrOf(Make("new", "", rules)), err);
    EXPECT_EQ(host_->List().size(), 1u);
  }
  EXPECT_EQ(ErrOf(Make("s", "", {Empty("/x")})), Err::kExists);
  EXPECT_EQ(ErrOf(Make("bad@name", "", {Empty("/x")})), Err::kInvalid);
  Must(host_->Destroy({"s"}));
  Must(host_->Drain());
  EXPECT_EQ(host_->Stats().stored_bytes, 0u);
}

TEST_F(Compose, ARepeatedRequestIsDoneOnce) {
  MakeSource("s");
  const uint64_t id = Must(Make("new", "", {Graft("s", "/a", "/a")}, "key")).id;
  EXPECT_EQ(Must(Make("new", "", {Graft("s", "/a", "/a")}, "key")).id, id);
  EXPECT_EQ(ErrOf(Make("new", "", {Graft("s", "/b", "/a")}, "key")), Err::kInvalid);
  Reopen();
  EXPECT_EQ(Must(Make("new", "", {Graft("s", "/a", "/a")}, "key")).id, id);
}

TEST_F(Compose, ItsCostIsTheRulesNotTheFiles) {
  for (const int files : {100, 1000, 10'000}) {
    const std::string name = "s" + std::to_string(files);
    Create(name);
    Tree tree = Attach(name);
    tree.MakeDir("/d/sub");
    for (int i = 0; i < files; ++i) {
      fs::CreateArgs args;
      args.parent = tree.Ino("/d/sub");
      const std::string file = std::to_string(i);
      args.name = file;
      Must(tree.files().Create(kRoot, args));
    }
    Must(host_->Flush());
    const uint64_t before = host_->Stats().journal_records;
    Must(Make("n" + name, name, {Graft(name, "/d", "/e"), Exclude("/d"), Empty("/v")}));
    const uint64_t records = host_->Stats().journal_records - before;
    EXPECT_LE(records, 10u) << files;  // its counting may have begun
    EXPECT_EQ(Counted("n" + name).inodes, static_cast<uint64_t>(files) + 4);
  }
}

}  // namespace
}  // namespace prism::compose
