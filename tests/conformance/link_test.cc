// Link, Unlink, Rmdir.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

using LinkTest = Conformance;

TEST_F(LinkTest, TwoNamesAreOneFile) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId ino = MakeFile(kRootInode, "f", "data");
  Attr parent = GetAttr(dir);
  fs::EntryResult result = Must(fs_->Link(kKernel, ino, dir, "g"));
  EXPECT_TRUE(result.created);
  EXPECT_EQ(result.attr, GetAttr(ino));
  EXPECT_EQ(result.attr.nlink, 2u);
  EXPECT_EQ(result.parent.before, parent);
  EXPECT_EQ(result.parent.after, GetAttr(dir));
  ExpectChanged(result.parent.after, parent);
  EXPECT_EQ(Find(dir, "g"), ino);
  WriteAt(Find(dir, "g"), 0, "DATA");
  EXPECT_EQ(ReadAll(Find(kRootInode, "f")), "DATA");
}

TEST_F(LinkTest, LinkSetsCtimeAndLeavesMtime) {
  InodeId ino = MakeFile(kRootInode, "f");
  SetTimes(ino, {1, 0}, {2, 0});
  Attr before = GetAttr(ino);
  Attr after = Must(fs_->Link(kKernel, ino, kRootInode, "g")).attr;
  EXPECT_GE(after.ctime, before.ctime);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(after.atime, before.atime);
}

TEST_F(LinkTest, AnythingButADirectoryMayBeLinked) {
  for (FileType type : {FileType::kRegular, FileType::kSymlink, FileType::kFifo, FileType::kSocket,
                        FileType::kCharDevice, FileType::kBlockDevice}) {
    std::string name = "t" + std::to_string(static_cast<int>(type));
    InodeId ino = Must(Create(kRootInode, name, type)).attr.ino;
    EXPECT_EQ(Must(fs_->Link(kKernel, ino, kRootInode, name + "-2")).attr.nlink, 2u);
  }
  InodeId dir = MakeDir(kRootInode, "d");
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, dir, kRootInode, "e")), Err::kPerm);
}

TEST_F(LinkTest, AnExistingNameIsNotReplaced) {
  InodeId ino = MakeFile(kRootInode, "f");
  MakeFile(kRootInode, "g");
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, ino, kRootInode, "g")), Err::kExists);
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, ino, kRootInode, "f")), Err::kExists);
  EXPECT_EQ(GetAttr(ino).nlink, 1u);
}

TEST_F(LinkTest, AnOrphanIsNotLinkedAgain) {
  NEEDS(kOrphans);
  InodeId ino = MakeFile(kRootInode, "f");
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, ino, kRootInode, "g")), Err::kNoEntry);
}

TEST_F(LinkTest, ManyLinksInManyDirectories) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  for (int i = 0; i < 100; ++i) {
    InodeId dir = MakeDir(kRootInode, "d" + std::to_string(i));
    for (int j = 0; j < 5; ++j) Must(fs_->Link(kKernel, ino, dir, "l" + std::to_string(j)));
  }
  EXPECT_EQ(GetAttr(ino).nlink, 501u);
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(ReadAll(ino), "data");
    InodeId dir = Find(kRootInode, "d" + std::to_string(i));
    for (int j = 0; j < 5; ++j) Must(fs_->Unlink(kKernel, dir, "l" + std::to_string(j)));
  }
  if (Can(Feature::kOrphans)) {
    EXPECT_EQ(ReadAll(ino), "data");
    EXPECT_EQ(GetAttr(ino).nlink, 0u);
  } else {
    EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, ino)), Err::kStale);
  }
}

TEST_F(LinkTest, UnlinkTellsWhatWasRemovedAndTheParent) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  Must(fs_->Link(kKernel, ino, kRootInode, "g"));
  Attr before = GetAttr(ino), parent = GetAttr(kRootInode);
  fs::RemoveResult result = Must(fs_->Unlink(kKernel, kRootInode, "f"));
  EXPECT_EQ(result.removed, GetAttr(ino));
  EXPECT_EQ(result.removed.nlink, 1u);
  EXPECT_GE(result.removed.ctime, before.ctime);
  EXPECT_EQ(result.removed.mtime, before.mtime);
  EXPECT_EQ(result.parent.before, parent);
  EXPECT_EQ(result.parent.after, GetAttr(kRootInode));
  ExpectChanged(result.parent.after, parent);
  EXPECT_EQ(result.parent.after.size, 32u);
  EXPECT_FALSE(Exists(kRootInode, "f"));
  EXPECT_TRUE(Exists(kRootInode, "g"));
}

TEST_F(LinkTest, UnlinkRemovesEveryTypeButDirectories) {
  for (FileType type : {FileType::kRegular, FileType::kSymlink, FileType::kFifo, FileType::kSocket,
                        FileType::kCharDevice, FileType::kBlockDevice}) {
    Must(Create(kRootInode, "x", type));
    EXPECT_EQ(Must(fs_->Unlink(kKernel, kRootInode, "x")).removed.nlink, 0u);
  }
  MakeDir(kRootInode, "x");
  EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, kRootInode, "x")), Err::kIsDirectory);
  EXPECT_TRUE(Exists(kRootInode, "x"));
}

TEST_F(LinkTest, RmdirRemovesEmptyDirectoriesOnly) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId sub = MakeDir(dir, "sub");
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, "d")), Err::kNotEmpty);
  Attr parent = GetAttr(dir);
  fs::RemoveResult result = Must(fs_->Rmdir(kKernel, dir, "sub"));
  EXPECT_EQ(result.removed.ino, sub);
  EXPECT_EQ(result.removed.nlink, 0u);
  EXPECT_EQ(result.parent.before, parent);
  EXPECT_EQ(result.parent.after.nlink, 2u);
  EXPECT_EQ(result.parent.after, GetAttr(dir));
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, "d")), Err::kOk);
  EXPECT_EQ(GetAttr(kRootInode).nlink, 2u);
}

TEST_F(LinkTest, RmdirOfAnythingElseIsNotDirectory) {
  MakeFile(kRootInode, "f");
  Must(Create(kRootInode, "l", FileType::kSymlink));
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, "f")), Err::kNotDirectory);
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, "l")), Err::kNotDirectory);
}

TEST_F(LinkTest, WhatIsNotThereIsNoEntry) {
  EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, kRootInode, "x")), Err::kNoEntry);
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, "x")), Err::kNoEntry);
}

}  // namespace
}  // namespace prism::conformance
