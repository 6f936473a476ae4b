// Rename: the matrix of what moves over what, and its flags.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class RenameTest : public Conformance {
 protected:
  Err RenameErr(InodeId from, std::string_view from_name, InodeId to, std::string_view to_name,
                uint32_t flags = 0) {
    return ErrOf(fs_->Rename(kKernel, from, from_name, to, to_name, flags));
  }
  Err RenameErr(std::string_view from_name, std::string_view to_name, uint32_t flags = 0) {
    return RenameErr(kRootInode, from_name, kRootInode, to_name, flags);
  }
};

TEST_F(RenameTest, MovesWithinADirectory) {
  InodeId ino = MakeFile(kRootInode, "a", "data");
  Attr before = GetAttr(ino);
  Attr parent = GetAttr(kRootInode);
  fs::RenameResult result = Must(fs_->Rename(kKernel, kRootInode, "a", kRootInode, "b", 0));
  EXPECT_FALSE(Exists(kRootInode, "a"));
  EXPECT_EQ(Find(kRootInode, "b"), ino);
  EXPECT_EQ(result.moved, GetAttr(ino));
  EXPECT_GE(result.moved.ctime, before.ctime);
  EXPECT_EQ(result.moved.mtime, before.mtime);
  EXPECT_FALSE(result.replaced.has_value());
  EXPECT_EQ(result.from_parent.before, parent);
  EXPECT_EQ(result.from_parent.after, GetAttr(kRootInode));
  EXPECT_EQ(result.to_parent.before, result.from_parent.before);
  EXPECT_EQ(result.to_parent.after, result.from_parent.after);
  ExpectChanged(result.from_parent.after, parent);
}

TEST_F(RenameTest, MovesBetweenDirectories) {
  InodeId one = MakeDir(kRootInode, "one");
  InodeId two = MakeDir(kRootInode, "two");
  InodeId file = MakeFile(one, "f");
  InodeId dir = MakeDir(one, "d");
  MakeFile(dir, "inside");
  Attr one_before = GetAttr(one), two_before = GetAttr(two);
  fs::RenameResult result = Must(fs_->Rename(kKernel, one, "d", two, "e", 0));
  EXPECT_EQ(result.from_parent.before, one_before);
  EXPECT_EQ(result.to_parent.before, two_before);
  EXPECT_EQ(result.from_parent.after, GetAttr(one));
  EXPECT_EQ(result.to_parent.after, GetAttr(two));
  EXPECT_EQ(GetAttr(one).nlink, 2u);
  EXPECT_EQ(GetAttr(two).nlink, 3u);
  EXPECT_EQ(GetAttr(two).size, 32u);
  EXPECT_EQ(RenameErr(one, "f", two, "g"), Err::kOk);
  EXPECT_EQ(Find(two, "g"), file);
  EXPECT_EQ(Find(two, "e"), dir);
  EXPECT_EQ(Find(dir, ".."), two);
  EXPECT_TRUE(Exists(dir, "inside"));
  EXPECT_TRUE(List(one).empty());
}

TEST_F(RenameTest, ReplacesAFileByAnother) {
  InodeId a = MakeFile(kRootInode, "a", "new");
  InodeId b = MakeFile(kRootInode, "b", "old");
  fs::RenameResult result = Must(fs_->Rename(kKernel, kRootInode, "a", kRootInode, "b", 0));
  EXPECT_EQ(Find(kRootInode, "b"), a);
  ASSERT_TRUE(result.replaced.has_value());
  EXPECT_EQ(result.replaced->ino, b);
  EXPECT_EQ(result.replaced->nlink, 0u);
  EXPECT_EQ(ReadAll(a), "new");
  EXPECT_EQ(List(kRootInode).size(), 1u);
  EXPECT_EQ(GetAttr(kRootInode).size, 32u);
}

TEST_F(RenameTest, ReplacingOneOfSeveralLinksLeavesTheOthers) {
  MakeFile(kRootInode, "a");
  InodeId b = MakeFile(kRootInode, "b", "old");
  Must(fs_->Link(kKernel, b, kRootInode, "c"));
  fs::RenameResult result = Must(fs_->Rename(kKernel, kRootInode, "a", kRootInode, "b", 0));
  ASSERT_TRUE(result.replaced.has_value());
  EXPECT_EQ(result.replaced->nlink, 1u);
  EXPECT_EQ(Find(kRootInode, "c"), b);
  EXPECT_EQ(ReadAll(b), "old");
}

TEST_F(RenameTest, AnyNonDirectoryReplacesAnyOther) {
  const FileType kTypes[] = {FileType::kRegular, FileType::kSymlink, FileType::kFifo,
                             FileType::kSocket, FileType::kCharDevice};
  for (FileType from : kTypes)
    for (FileType to : kTypes) {
      InodeId ino = Must(Create(kRootInode, "from", from)).attr.ino;
      Must(Create(kRootInode, "to", to));
      EXPECT_EQ(RenameErr("from", "to"), Err::kOk);
      EXPECT_EQ(Find(kRootInode, "to"), ino);
      Must(fs_->Unlink(kKernel, kRootInode, "to"));
    }
}

TEST_F(RenameTest, ReplacesAnEmptyDirectoryByADirectory) {
  InodeId a = MakeDir(kRootInode, "a");
  InodeId b = MakeDir(kRootInode, "b");
  MakeFile(a, "f");
  fs::RenameResult result = Must(fs_->Rename(kKernel, kRootInode, "a", kRootInode, "b", 0));
  EXPECT_EQ(Find(kRootInode, "b"), a);
  ASSERT_TRUE(result.replaced.has_value());
  EXPECT_EQ(result.replaced->ino, b);
  EXPECT_EQ(result.replaced->nlink, 0u);
  EXPECT_EQ(GetAttr(kRootInode).nlink, 3u);
  EXPECT_TRUE(Exists(a, "f"));
}

TEST_F(RenameTest, DoesNotReplaceADirectoryThatHasEntries) {
  MakeDir(kRootInode, "a");
  MakeFile(MakeDir(kRootInode, "b"), "f");
  EXPECT_EQ(RenameErr("a", "b"), Err::kNotEmpty);
  EXPECT_TRUE(Exists(kRootInode, "a"));
}

TEST_F(RenameTest, FilesAndDirectoriesDoNotReplaceEachOther) {
  MakeDir(kRootInode, "d");
  MakeFile(kRootInode, "f");
  Must(Create(kRootInode, "l", FileType::kSymlink));
  EXPECT_EQ(RenameErr("f", "d"), Err::kIsDirectory);
  EXPECT_EQ(RenameErr("l", "d"), Err::kIsDirectory);
  EXPECT_EQ(RenameErr("d", "f"), Err::kNotDirectory);
  EXPECT_EQ(RenameErr("d", "l"), Err::kNotDirectory);
  EXPECT_EQ(List(kRootInode).size(), 3u);
}

TEST_F(RenameTest, ADirectoryDoesNotGoIntoItsOwnSubtree) {
  InodeId a = MakeDir(kRootInode, "a");
  InodeId b = MakeDir(a, "b");
  InodeId c = MakeDir(b, "c");
  EXPECT_EQ(RenameErr(kRootInode, "a", a, "x"), Err::kInvalid);
  EXPECT_EQ(RenameErr(kRootInode, "a", b, "x"), Err::kInvalid);
  EXPECT_EQ(RenameErr(kRootInode, "a", c, "x"), Err::kInvalid);
  EXPECT_EQ(RenameErr(kRootInode, "a", a, "b"), Err::kInvalid);
  EXPECT_EQ(RenameErr(a, "b", c, "x"), Err::kInvalid);
  EXPECT_EQ(Find(b, "c"), c);
}

TEST_F(RenameTest, AnAncestorIsNotReplacedBecauseItIsNotEmpty) {
  InodeId a = MakeDir(kRootInode, "a");
  InodeId b = MakeDir(a, "b");
  MakeDir(b, "c");
  MakeFile(b, "f");
  EXPECT_EQ(RenameErr(b, "c", kRootInode, "a"), Err::kNotEmpty);
  EXPECT_EQ(RenameErr(b, "f", kRootInode, "a"), Err::kNotEmpty);
  EXPECT_EQ(RenameErr(b, "c", a, "b"), Err::kNotEmpty);
}

TEST_F(RenameTest, OntoItselfNothingHappens) {
  InodeId file = MakeFile(kRootInode, "f", "data");
  MakeDir(kRootInode, "d");
  Attr attr = GetAttr(file), parent = GetAttr(kRootInode);
  EXPECT_EQ(RenameErr("f", "f"), Err::kOk);
  EXPECT_EQ(RenameErr("d", "d"), Err::kOk);
  if (Can(Feature::kRenameFlags)) {
    EXPECT_EQ(RenameErr("f", "f", fs::kRenameExchange), Err::kOk);
    EXPECT_EQ(RenameErr("f", "f", fs::kRenameNoReplace), Err::kExists);
  }
  EXPECT_EQ(GetAttr(file), attr);
  EXPECT_EQ(GetAttr(kRootInode), parent);
}

TEST_F(RenameTest, BetweenTwoNamesOfOneFileNothingHappens) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId file = MakeFile(kRootInode, "f", "data");
  Must(fs_->Link(kKernel, file, dir, "g"));
  Attr attr = GetAttr(file);
  fs::RenameResult result = Must(fs_->Rename(kKernel, kRootInode, "f", dir, "g", 0));
  EXPECT_FALSE(result.replaced.has_value());
  EXPECT_EQ(result.moved, attr);
  EXPECT_EQ(result.from_parent.before, result.from_parent.after);
  EXPECT_EQ(result.to_parent.before, result.to_parent.after);
  EXPECT_TRUE(Exists(kRootInode, "f"));
  EXPECT_TRUE(Exists(dir, "g"));
  EXPECT_EQ(GetAttr(file), attr);
}

TEST_F(RenameTest, WhatIsNotThereIsNoEntry) {
  MakeFile(kRootInode, "f");
  EXPECT_EQ(RenameErr("missing", "x"), Err::kNoEntry);
  EXPECT_EQ(RenameErr("missing", "f"), Err::kNoEntry);
  if (!Can(Feature::kRenameFlags)) return;
  EXPECT_EQ(RenameErr("missing", "f", fs::kRenameNoReplace), Err::kNoEntry);
  EXPECT_EQ(RenameErr("missing", "f", fs::kRenameExchange), Err::kNoEntry);
  EXPECT_EQ(RenameErr("f", "missing", fs::kRenameExchange), Err::kNoEntry);
}

TEST_F(RenameTest, NoReplaceRefusesAnExistingTargetOfAnyType) {
  NEEDS(kRenameFlags);
  MakeFile(kRootInode, "f");
  MakeFile(kRootInode, "g");
  MakeDir(kRootInode, "d");
  EXPECT_EQ(RenameErr("f", "g", fs::kRenameNoReplace), Err::kExists);
  EXPECT_EQ(RenameErr("f", "d", fs::kRenameNoReplace), Err::kExists);
  EXPECT_EQ(RenameErr("d", "f", fs::kRenameNoReplace), Err::kExists);
  EXPECT_EQ(RenameErr("f", "new", fs::kRenameNoReplace), Err::kOk);
  EXPECT_TRUE(Exists(kRootInode, "new"));
}

TEST_F(RenameTest, ExchangeSwapsFilesAndDirectoriesAcrossParents) {
  NEEDS(kRenameFlags);
  InodeId one = MakeDir(kRootInode, "one");
  InodeId two = MakeDir(kRootInode, "two");
  InodeId file = MakeFile(one, "x", "file");
  InodeId dir = MakeDir(two, "y");
  MakeFile(dir, "inside");
  fs::RenameResult result = Must(fs_->Rename(kKernel, one, "x", two, "y", fs::kRenameExchange));
  EXPECT_EQ(Find(one, "x"), dir);
  EXPECT_EQ(Find(two, "y"), file);
  EXPECT_EQ(Find(dir, ".."), one);
  EXPECT_EQ(GetAttr(one).nlink, 3u);
  EXPECT_EQ(GetAttr(two).nlink, 2u);
  EXPECT_EQ(result.moved.ino, file);
  ASSERT_TRUE(result.replaced.has_value());
  EXPECT_EQ(result.replaced->ino, dir);
  EXPECT_EQ(result.replaced->nlink, 2u);
  EXPECT_EQ(result.from_parent.after, GetAttr(one));
  EXPECT_EQ(result.to_parent.after, GetAttr(two));
}

TEST_F(RenameTest, ExchangeWithinADirectoryKeepsNonEmptyDirectories) {
  NEEDS(kRenameFlags);
  InodeId a = MakeDir(kRootInode, "a");
  InodeId b = MakeDir(kRootInode, "b");
  MakeFile(a, "in-a");
  MakeFile(b, "in-b");
  EXPECT_EQ(RenameErr("a", "b", fs::kRenameExchange), Err::kOk);
  EXPECT_EQ(Find(kRootInode, "a"), b);
  EXPECT_EQ(Find(kRootInode, "b"), a);
  EXPECT_EQ(GetAttr(kRootInode).nlink, 4u);
  EXPECT_EQ(GetAttr(kRootInode).size, 64u);
}

TEST_F(RenameTest, ExchangeWithAnAncestorIsInvalid) {
  NEEDS(kRenameFlags);
  InodeId a = MakeDir(kRootInode, "a");
  InodeId b = MakeDir(a, "b");
  MakeFile(b, "f");
  EXPECT_EQ(RenameErr(kRootInode, "a", a, "b", fs::kRenameExchange), Err::kInvalid);
  EXPECT_EQ(RenameErr(a, "b", kRootInode, "a", fs::kRenameExchange), Err::kInvalid);
  EXPECT_EQ(RenameErr(b, "f", kRootInode, "a", fs::kRenameExchange), Err::kInvalid);
}

TEST_F(RenameTest, UnknownAndContradictoryFlagsAreInvalid) {
  NEEDS(kRenameFlags);
  MakeFile(kRootInode, "f");
  MakeFile(kRootInode, "g");
  EXPECT_EQ(RenameErr("f", "g", fs::kRenameNoReplace | fs::kRenameExchange), Err::kInvalid);
  EXPECT_EQ(RenameErr("f", "g", 4), Err::kInvalid);
  EXPECT_EQ(RenameErr("f", "g", 0x80000000u), Err::kInvalid);
}

TEST_F(RenameTest, AReplacedFileLivesOnForItsHolder) {
  NEEDS(kOrphans);
  MakeFile(kRootInode, "a", "new");
  InodeId old = MakeFile(kRootInode, "b", "old");
  EXPECT_EQ(RenameErr("a", "b"), Err::kOk);
  EXPECT_EQ(ReadAll(old), "old");
  EXPECT_EQ(ErrOf(fs_->Release(kKernel, old)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, old)), Err::kStale);
}

TEST_F(RenameTest, AMovedEntryIsListedAtItsNewPlaceOnly) {
  InodeId dir = MakeDir(kRootInode, "d");
  for (int i = 0; i < 100; ++i) MakeFile(kRootInode, "f" + std::to_string(i));
  for (int i = 0; i < 100; i += 2)
    EXPECT_EQ(RenameErr(kRootInode, "f" + std::to_string(i), dir, "g" + std::to_string(i)),
              Err::kOk);
  EXPECT_EQ(List(kRootInode).size(), 51u);
  EXPECT_EQ(List(dir).size(), 50u);
}

}  // namespace
}  // namespace prism::conformance
