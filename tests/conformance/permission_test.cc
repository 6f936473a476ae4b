// What checked callers may do: mode bits, ownership, the sticky bit, Access.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr uint32_t kRead = 4, kWrite = 2, kExecute = 1, kAll = 7;

class PermissionTest : public Conformance {
 protected:
  uint32_t Access(const Caller& caller, InodeId ino, uint32_t mask = kAll) {
    return Must(fs_->Access(caller, ino, mask));
  }
  Err ReadErr(const Caller& caller, InodeId ino) {
    std::byte buffer[4];
    return ErrOf(fs_->Read(caller, ino, 0, buffer));
  }
  Err ListErr(const Caller& caller, InodeId dir) {
    return ErrOf(fs_->Readdir(caller, dir, 0, false, [](auto&) { return true; }));
  }
};

TEST_F(PermissionTest, AccessFollowsTheClassOfTheCaller) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0421, 10, 20);
  const uint32_t groups[] = {30, 20};
  const Caller in_group{.uid = 11, .gid = 20, .check_permission = true};
  EXPECT_EQ(Access(User(10), ino), kRead);
  EXPECT_EQ(Access(in_group, ino), kWrite);
  EXPECT_EQ(Access(User(12, groups), ino), kWrite);
  EXPECT_EQ(Access(User(12), ino), kExecute);
  // The owner's class decides alone, though he is in the group too.
  const Caller owner_in_group{.uid = 10, .gid = 20, .check_permission = true};
  EXPECT_EQ(Access(owner_in_group, ino), kRead);
}

TEST_F(PermissionTest, AccessReturnsOnlyWhatWasAskedFor) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0700, 10, 10);
  EXPECT_EQ(Access(User(10), ino, kRead | kExecute), kRead | kExecute);
  EXPECT_EQ(Access(User(10), ino, 0), 0u);
}

TEST_F(PermissionTest, AccessIsEvaluatedForUncheckedCallersToo) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0600, 10, 10);
  EXPECT_EQ(Access(Caller{.uid = 11, .gid = 11}, ino), 0u);
}

TEST_F(PermissionTest, RootReadsAndWritesAllButExecutesOnlyWhatSomebodyMay) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0000, 10, 10);
  EXPECT_EQ(Access(kRoot, ino), kRead | kWrite);
  Chmod(ino, 0001);
  EXPECT_EQ(Access(kRoot, ino), kAll);
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0000, 10, 10);
  EXPECT_EQ(Access(kRoot, dir), kAll);
}

TEST_F(PermissionTest, ReadingAndWritingNeedTheirBits) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0604, 10, 10);
  EXPECT_EQ(ReadErr(User(11), ino), Err::kOk);
  EXPECT_EQ(WriteErr(User(11), ino, 0, "x"), Err::kAccess);
  Chmod(ino, 0602);
  EXPECT_EQ(ReadErr(User(11), ino), Err::kAccess);
  EXPECT_EQ(WriteErr(User(11), ino, 0, "x"), Err::kOk);
  EXPECT_EQ(ReadErr(kRoot, ino), Err::kOk);
  if (!Can(Feature::kRangeOps)) return;
  EXPECT_EQ(ErrOf(fs_->Fallocate(User(11), ino, FallocateMode::kPunchHole, 0, 1)), Err::kOk);
  Chmod(ino, 0600);
  EXPECT_EQ(ErrOf(fs_->Fallocate(User(11), ino, FallocateMode::kPunchHole, 0, 1)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Seek(User(11), ino, 0, SeekWhence::kData)), Err::kAccess);
}

// There is no open in the contract: who made a file read-only through an open descriptor must be
// able to go on, and a program that may only be executed has to be read for that (RFC 1813, 4.4).
TEST_F(PermissionTest, OwnersReadAndWriteTheirDataWhateverTheMode) {
  NEEDS(kDataWithoutOpen);
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0000, 10, 10);
  EXPECT_EQ(WriteErr(User(10), ino, 0, "x"), Err::kOk);
  EXPECT_EQ(ReadErr(User(10), ino), Err::kOk);
  EXPECT_EQ(Access(User(10), ino), 0u);
}

TEST_F(PermissionTest, WhoMayExecuteMayRead) {
  NEEDS(kDataWithoutOpen);
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0711, 10, 10);
  EXPECT_EQ(ReadErr(User(11), ino), Err::kOk);
  EXPECT_EQ(Access(User(11), ino), kExecute);
}

TEST_F(PermissionTest, CopyRangeNeedsReadOnOneAndWriteOnTheOther) {
  NEEDS(kRangeOps);
  InodeId from = MakeOwned(kRootInode, "from", FileType::kRegular, 0604, 10, 10);
  InodeId to = MakeOwned(kRootInode, "to", FileType::kRegular, 0602, 10, 10);
  WriteAt(from, 0, "data");
  WriteAt(to, 0, "data");
  EXPECT_EQ(ErrOf(fs_->CopyRange(User(11), from, 0, to, 0, 4)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->CopyRange(User(11), to, 0, from, 0, 4)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->CopyRange(User(11), from, 0, from, 4, 4)), Err::kAccess);
}

TEST_F(PermissionTest, SearchingADirectoryNeedsExecute) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0776, 10, 10);
  MakeFile(dir, "f");
  EXPECT_EQ(LookupErr(dir, "f", User(11)), Err::kAccess);
  EXPECT_EQ(LookupErr(dir, "missing", User(11)), Err::kAccess);
  EXPECT_EQ(LookupErr(dir, ".", User(11)), Err::kAccess);
  EXPECT_EQ(LookupErr(dir, "..", User(11)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Unlink(User(11), dir, "f")), Err::kAccess);
  Chmod(dir, 0771);
  EXPECT_EQ(LookupErr(dir, "f", User(11)), Err::kOk);
  EXPECT_EQ(LookupErr(dir, "missing", User(11)), Err::kNoEntry);
}

TEST_F(PermissionTest, ListingADirectoryNeedsRead) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0773, 10, 10);
  EXPECT_EQ(ListErr(User(11), dir), Err::kAccess);
  EXPECT_EQ(ListErr(User(10), dir), Err::kOk);
  Chmod(dir, 0774);
  EXPECT_EQ(ListErr(User(11), dir), Err::kOk);
}

TEST_F(PermissionTest, ChangingADirectoryNeedsWriteAndExecute) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0777, 10, 10);
  InodeId file = MakeFile(dir, "f");
  Chmod(file, 0666);  // Linux lets users link only what they could write (protected_hardlinks)
  MakeDir(dir, "sub");
  Chmod(dir, 0775);
  EXPECT_EQ(ErrOf(Create(dir, "x", FileType::kRegular, 0644, User(11))), Err::kAccess);
  EXPECT_EQ(ErrOf(Create(dir, "x", FileType::kDirectory, 0755, User(11))), Err::kAccess);
  EXPECT_EQ(ErrOf(Create(dir, "x", FileType::kSymlink, 0755, User(11))), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Link(User(11), file, dir, "x")), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Unlink(User(11), dir, "f")), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Rmdir(User(11), dir, "sub")), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), dir, "f", dir, "x", 0)), Err::kAccess);
  // What is there, or not there, is said first.
  EXPECT_EQ(ErrOf(Create(dir, "f", FileType::kRegular, 0644, User(11))), Err::kExists);
  EXPECT_EQ(ErrOf(fs_->Unlink(User(11), dir, "missing")), Err::kNoEntry);
  Chmod(dir, 0777);
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), dir, "f", dir, "x", 0)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Unlink(User(11), dir, "x")), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Rmdir(User(11), dir, "sub")), Err::kOk);
}

TEST_F(PermissionTest, NewFilesBelongToTheCaller) {
  Chmod(kRootInode, 0777);
  const Caller caller{.uid = 10, .gid = 20, .check_permission = true};
  Attr attr = Must(Create(kRootInode, "f", FileType::kRegular, 0644, caller)).attr;
  EXPECT_EQ(attr.uid, 10u);
  EXPECT_EQ(attr.gid, 20u);
}

TEST_F(PermissionTest, InitialAttributesAreNotCheckedAgainstWhatWasJustMade) {
  Chmod(kRootInode, 0777);
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "f";
  args.mode = 0444;
  args.initial.size = 10;
  args.initial.mtime = Timespec{1, 1};
  EXPECT_EQ(Must(fs_->Create(User(10), args)).attr.size, 10u);
}

TEST_F(PermissionTest, UncheckedCreateTruncatesOnlyWithWritePermission) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0644, 10, 10);
  WriteAt(ino, 0, "data");
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "f";
  args.exclusivity = fs::Exclusivity::kUnchecked;
  EXPECT_EQ(ErrOf(fs_->Create(User(11), args)), Err::kOk);
  args.initial.size = 0;
  EXPECT_EQ(ErrOf(fs_->Create(User(11), args)), Err::kAccess);
  EXPECT_EQ(ReadAll(ino), "data");
  EXPECT_EQ(ErrOf(fs_->Create(User(10), args)), Err::kOk);
  EXPECT_EQ(ReadAll(ino), "");
}

TEST_F(PermissionTest, UncheckedCallersMayDoAnything) {
  NEEDS(kUncheckedCallers);
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0000, 10, 10);
  const Caller kernel_user{.uid = 99, .gid = 99};
  Attr file = Must(Create(dir, "f", FileType::kRegular, 0000, kernel_user)).attr;
  EXPECT_EQ(LookupErr(dir, "f", kernel_user), Err::kOk);
  EXPECT_EQ(ListErr(kernel_user, dir), Err::kOk);
  EXPECT_EQ(WriteErr(kernel_user, file.ino, 0, "x"), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Unlink(kernel_user, dir, "f")), Err::kOk);
}

TEST_F(PermissionTest, StickyDirectoriesLetOnlyOwnersRemoveAndRename) {
  InodeId dir = MakeOwned(kRootInode, "tmp", FileType::kDirectory, 01777, 1, 1);
  for (const char* name : {"a", "b", "c"}) MakeOwned(dir, name, FileType::kRegular, 0666, 10, 10);
  MakeOwned(dir, "sub", FileType::kDirectory, 0777, 10, 10);
  MakeOwned(dir, "mine", FileType::kRegular, 0666, 11, 11);
  EXPECT_EQ(ErrOf(fs_->Unlink(User(11), dir, "a")), Err::kPerm);
  EXPECT_EQ(ErrOf(fs_->Rmdir(User(11), dir, "sub")), Err::kPerm);
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), dir, "a", dir, "x", 0)), Err::kPerm);
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), dir, "mine", dir, "a", 0)), Err::kPerm);
  if (Can(Feature::kRenameFlags)) {
    EXPECT_EQ(ErrOf(fs_->Rename(User(11), dir, "mine", dir, "a", fs::kRenameExchange)), Err::kPerm);
  }
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), dir, "mine", dir, "mine2", 0)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Unlink(User(10), dir, "a")), Err::kOk) << "owner of the file";
  EXPECT_EQ(ErrOf(fs_->Unlink(User(1), dir, "b")), Err::kOk) << "owner of the directory";
  EXPECT_EQ(ErrOf(fs_->Unlink(kRoot, dir, "c")), Err::kOk) << "root";
}

TEST_F(PermissionTest, MovingADirectoryNeedsWriteOnItBecauseDotDotChanges) {
  InodeId one = MakeOwned(kRootInode, "one", FileType::kDirectory, 0777, 10, 10);
  InodeId two = MakeOwned(kRootInode, "two", FileType::kDirectory, 0777, 10, 10);
  MakeOwned(one, "d", FileType::kDirectory, 0755, 10, 10);
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), one, "d", two, "d", 0)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Rename(User(11), one, "d", one, "e", 0)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Rename(User(10), one, "e", two, "d", 0)), Err::kOk);
}

TEST_F(PermissionTest, GetattrAndReadlinkNeedNoPermission) {
  InodeId file = MakeOwned(kRootInode, "f", FileType::kRegular, 0000, 10, 10);
  InodeId link = Must(Create(kRootInode, "l", FileType::kSymlink)).attr.ino;
  EXPECT_EQ(ErrOf(fs_->Getattr(User(11), file)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Readlink(User(11), link)), Err::kOk);
}

TEST_F(PermissionTest, GroupsUpToTheLimitCount) {
  NEEDS(kManyGroups);
  std::vector<uint32_t> groups(fs::kGroupsMax);
  for (size_t i = 0; i < groups.size(); ++i) groups[i] = static_cast<uint32_t>(1000 + i);
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0640, 10, 1000 + fs::kGroupsMax - 1);
  EXPECT_EQ(Access(User(11, groups), ino), kRead);
}

}  // namespace
}  // namespace prism::conformance
