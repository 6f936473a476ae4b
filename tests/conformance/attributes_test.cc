// Setattr, and the rules of times and of the change number.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class AttributesTest : public Conformance {
 protected:
  Err SetErr(const Caller& caller, InodeId ino, const SetAttr& changes) {
    return ErrOf(fs_->Setattr(caller, ino, changes));
  }
};

TEST_F(AttributesTest, EachFieldChangesAloneWithCtime) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  Attr expected = GetAttr(ino);
  auto apply = [&](const SetAttr& changes) {
    fs::Change change = Must(fs_->Setattr(kKernel, ino, changes));
    EXPECT_EQ(change.before, expected);
    EXPECT_GE(change.after.ctime, expected.ctime);
    ExpectChanged(change.after, expected);
    expected.ctime = change.after.ctime;
    expected.change = change.after.change;
    return change.after;
  };
  SetAttr mode, uid, gid, atime, mtime;
  uid.uid = 4000000000u;
  Attr after = apply(uid);
  expected.uid = 4000000000u;
  EXPECT_EQ(after, expected);
  gid.gid = 4000000001u;
  after = apply(gid);
  expected.gid = 4000000001u;
  EXPECT_EQ(after, expected);
  atime.atime = Timespec{1, 2};
  after = apply(atime);
  expected.atime = Timespec{1, 2};
  EXPECT_EQ(after, expected);
  mtime.mtime = Timespec{Can(Feature::kAnyTime) ? -3 : 3, 4};
  after = apply(mtime);
  expected.mtime = *mtime.mtime;
  EXPECT_EQ(after, expected);
  mode.mode = 07531;  // last, for a chown may take set-id bits away
  after = apply(mode);
  expected.mode = 07531;
  EXPECT_EQ(after, expected);
  EXPECT_EQ(GetAttr(ino), expected);
}

TEST_F(AttributesTest, NamingNothingChangesNothing) {
  InodeId ino = MakeFile(kRootInode, "f");
  Attr before = GetAttr(ino);
  fs::Change change = Must(fs_->Setattr(kKernel, ino, {}));
  EXPECT_EQ(change.before, before);
  EXPECT_EQ(change.after, before);
}

TEST_F(AttributesTest, AGuardThatDoesNotMatchChangesNothing) {
  NEEDS(kGuardedSetattr);
  const InodeId ino = MakeFile(kRootInode, "f", "data");
  const Attr before = GetAttr(ino);
  SetAttr changes;
  changes.mode = 0700;
  changes.size = 1;
  changes.if_ctime = Timespec{before.ctime.sec, before.ctime.nsec ^ 1};
  EXPECT_EQ(SetErr(kKernel, ino, changes), Err::kNotSync);
  EXPECT_EQ(GetAttr(ino), before);
  changes.if_ctime = before.ctime;
  EXPECT_EQ(SetErr(kKernel, ino, changes), Err::kOk);
  EXPECT_EQ(GetAttr(ino).mode, 0700u);
  EXPECT_EQ(GetAttr(ino).size, 1u);
}

TEST_F(AttributesTest, ExtremeTimesAreKept) {
  NEEDS(kAnyTime);
  InodeId ino = MakeFile(kRootInode, "f");
  for (int64_t sec : {int64_t{-2147483649}, int64_t{-1}, int64_t{0}, int64_t{2147483648},
                      int64_t{4294967296}, int64_t{253402300800}}) {
    SetTimes(ino, {sec, 0}, {sec, 999999999});
    EXPECT_EQ(GetAttr(ino).atime, (Timespec{sec, 0}));
    EXPECT_EQ(GetAttr(ino).mtime, (Timespec{sec, 999999999}));
  }
}

TEST_F(AttributesTest, NanosecondsOfASecondOrMoreAreInvalid) {
  InodeId ino = MakeFile(kRootInode, "f");
  SetAttr changes;
  changes.atime = Timespec{1, 1000000000};
  EXPECT_TRUE(IsMalformed(SetErr(kKernel, ino, changes)));
}

TEST_F(AttributesTest, NowIsTheServersClock) {
  InodeId ino = MakeFile(kRootInode, "f");
  SetTimes(ino, {1, 0}, {2, 0});
  SetAttr changes;
  changes.atime_now = true;
  Attr after = Must(fs_->Setattr(kKernel, ino, changes)).after;
  EXPECT_EQ(after.atime, after.ctime);
  EXPECT_EQ(after.mtime, (Timespec{2, 0}));
  changes.mtime_now = true;
  after = Must(fs_->Setattr(kKernel, ino, changes)).after;
  EXPECT_EQ(after.mtime, after.ctime);
}

TEST_F(AttributesTest, OnlyTheOwnerOrRootChangesTheMode) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0666, 10, 10);
  SetAttr changes;
  changes.mode = 0600;
  EXPECT_EQ(SetErr(User(11), ino, changes), Err::kPerm);
  EXPECT_EQ(SetErr(User(10), ino, changes), Err::kOk);
  EXPECT_EQ(SetErr(kRoot, ino, changes), Err::kOk);
}

TEST_F(AttributesTest, OnlyRootGivesFilesAwayAndOwnersChooseAmongTheirGroups) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0644, 10, 10);
  const uint32_t groups[] = {20, 21};
  SetAttr uid, gid, same;
  uid.uid = 11;
  EXPECT_EQ(SetErr(User(10), ino, uid), Err::kPerm);
  EXPECT_EQ(SetErr(User(11), ino, uid), Err::kPerm);
  gid.gid = 21;
  EXPECT_EQ(SetErr(User(10), ino, gid), Err::kPerm);
  EXPECT_EQ(SetErr(User(11, groups), ino, gid), Err::kPerm);
  EXPECT_EQ(SetErr(User(10, groups), ino, gid), Err::kOk);
  EXPECT_EQ(GetAttr(ino).gid, 21u);
  same.uid = 10;
  same.gid = 21;
  EXPECT_EQ(SetErr(User(10), ino, same), Err::kOk);
  EXPECT_EQ(SetErr(kRoot, ino, uid), Err::kOk);
  EXPECT_EQ(GetAttr(ino).uid, 11u);
}

TEST_F(AttributesTest, ExplicitTimesNeedTheOwnerAndNowNeedsAtLeastWrite) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0646, 10, 10);
  SetAttr set, now;
  set.mtime = Timespec{5, 5};
  now.atime_now = now.mtime_now = true;
  EXPECT_EQ(SetErr(User(11), ino, set), Err::kPerm);
  EXPECT_EQ(SetErr(User(11), ino, now), Err::kOk);
  EXPECT_EQ(SetErr(User(10), ino, set), Err::kOk);
  Chmod(ino, 0444);
  EXPECT_EQ(SetErr(User(11), ino, now), Err::kAccess);
  EXPECT_EQ(SetErr(User(10), ino, now), Err::kOk);
}

TEST_F(AttributesTest, SizeNeedsWritePermission) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0644, 10, 10);
  SetAttr size;
  size.size = 5;
  EXPECT_EQ(SetErr(User(11), ino, size), Err::kAccess);
  EXPECT_EQ(GetAttr(ino).size, 0u);
  Chmod(ino, 0646);
  EXPECT_EQ(SetErr(User(11), ino, size), Err::kOk);
}

TEST_F(AttributesTest, ARefusedSetattrChangesNothing) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0666, 10, 10);
  Attr before = GetAttr(ino);
  SetAttr changes;
  changes.size = 5;
  changes.mode = 0600;  // not the owner's
  EXPECT_EQ(SetErr(User(11), ino, changes), Err::kPerm);
  EXPECT_EQ(GetAttr(ino), before);
}

TEST_F(AttributesTest, ChmodByAStrangerToTheGroupDropsSetGroupId) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0644, 10, 77);
  SetAttr changes;
  changes.mode = 02755;
  EXPECT_EQ(SetErr(User(10), ino, changes), Err::kOk);
  EXPECT_EQ(GetAttr(ino).mode, 0755u);
  const uint32_t groups[] = {77};
  EXPECT_EQ(SetErr(User(10, groups), ino, changes), Err::kOk);
  EXPECT_EQ(GetAttr(ino).mode, 02755u);
}

TEST_F(AttributesTest, KillPrivilegesClearsSetIdBitsAndCapabilities) {
  NEEDS(kKillPrivileges);
  InodeId ino = MakeFile(kRootInode, "f", "data", 06755);
  // A list of capabilities as Linux wants it (VFS_CAP_REVISION_2): none.
  const std::string capabilities("\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
  Must(fs_->Setxattr(kKernel, ino, "security.capability", capabilities, XattrMode::kSet));
  SetAttr changes;
  changes.size = 2;
  Must(fs_->Setattr(kKernel, ino, changes));
  EXPECT_EQ(GetAttr(ino).mode, 06755u) << "only when the kernel asks for it";
  changes.kill_privileges = true;
  Must(fs_->Setattr(kKernel, ino, changes));
  EXPECT_EQ(GetAttr(ino).mode, 0755u);
  EXPECT_EQ(ErrOf(fs_->Getxattr(kKernel, ino, "security.capability")), Err::kNoAttribute);
}

TEST_F(AttributesTest, KillPrivilegesKeepsSetGroupIdWithoutGroupExecute) {
  NEEDS(kKillPrivileges);
  InodeId ino = MakeFile(kRootInode, "f", "data", 06745);
  SetAttr changes;
  changes.size = 2;
  changes.kill_privileges = true;
  Must(fs_->Setattr(kKernel, ino, changes));
  EXPECT_EQ(GetAttr(ino).mode, 02745u);
}

TEST_F(AttributesTest, WritesKillPrivilegesWhenAskedTo) {
  NEEDS(kKillPrivileges);
  InodeId ino = MakeFile(kRootInode, "f", "data", 06755);
  fs::WriteArgs args;
  args.ino = ino;
  args.data = AsBytes("x");
  Must(fs_->Write(kKernel, args));
  EXPECT_EQ(GetAttr(ino).mode, 06755u);
  args.kill_privileges = true;
  fs::WriteResult result = Must(fs_->Write(kKernel, args));
  EXPECT_EQ(result.change.after.mode, 0755u);
  EXPECT_EQ(GetAttr(ino).mode, 0755u);
}

TEST_F(AttributesTest, WritesThatKillPrivilegesTellTheAttributesFromBefore) {
  InodeId ino = MakeFile(kRootInode, "f", "data", 06755);
  Attr before = GetAttr(ino);
  fs::WriteArgs args;
  args.ino = ino;
  args.data = AsBytes("x");
  args.kill_privileges = true;
  EXPECT_EQ(Must(fs_->Write(kKernel, args)).change.before, before);
}

TEST_F(AttributesTest, RefusedAndEmptyWritesKillNoPrivileges) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 06777, 10, 10);
  EXPECT_EQ(WriteErr(User(10), ino, fs::kFileSizeMax, "x"), Err::kTooLarge);
  EXPECT_EQ(WriteErr(User(10), ino, 0, ""), Err::kOk);
  EXPECT_EQ(GetAttr(ino).mode, 06777u);
}

TEST_F(AttributesTest, CheckedCallersLoseSetIdBitsByWritingTruncatingAndChowning) {
  const uint32_t groups[] = {20};
  for (int way = 0; way < 3; ++way) {
    std::string name = "f" + std::to_string(way);
    InodeId ino = MakeOwned(kRootInode, name, FileType::kRegular, 06777, 10, 10);
    SetAttr changes;
    if (way == 1) changes.size = 1;
    if (way == 2) changes.gid = 20;
    Err err = way == 0 ? WriteErr(User(10), ino, 0, "x") : SetErr(User(10, groups), ino, changes);
    EXPECT_EQ(err, Err::kOk);
    EXPECT_EQ(GetAttr(ino).mode, 0777u) << way;
  }
}

TEST_F(AttributesTest, ReadingSetsAtimeByTheRuleOfRelatime) {
  NEEDS(kUncached);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  auto atime_after_read = [&](Timespec atime, Timespec mtime) {
    SetTimes(ino, atime, mtime);
    ReadAt(ino, 0, 4);
    return GetAttr(ino).atime;
  };
  Timespec now = GetAttr(ino).ctime;
  Timespec future{now.sec + 1000, 0};
  // Newer than the file's changes and less than a day old: stays.
  EXPECT_EQ(atime_after_read(future, {5, 0}), future);
  // Not newer than mtime.
  EXPECT_NE(atime_after_read({now.sec - 5, 0}, {now.sec - 5, 0}), (Timespec{now.sec - 5, 0}));
  // More than a day old.
  EXPECT_GE(atime_after_read({now.sec - 90000, 0}, {5, 0}), now);
}

TEST_F(AttributesTest, ReadingChangesNothingButAtime) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  SetTimes(ino, {1, 0}, {2, 0});
  Attr before = GetAttr(ino);
  ReadAt(ino, 0, 4);
  Attr after = GetAttr(ino);
  EXPECT_GT(after.atime, before.atime);
  EXPECT_EQ(after.mtime, before.mtime);
  EXPECT_EQ(after.ctime, before.ctime);
}

TEST_F(AttributesTest, ListingAndReadlinkSetAtime) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId link = Must(Create(kRootInode, "l", FileType::kSymlink)).attr.ino;
  SetTimes(dir, {1, 0}, {2, 0});
  SetTimes(link, {1, 0}, {2, 0});
  List(dir);
  Must(fs_->Readlink(kKernel, link));
  EXPECT_GT(GetAttr(dir).atime, (Timespec{1, 0}));
  EXPECT_GT(GetAttr(link).atime, (Timespec{1, 0}));
}

TEST_F(AttributesTest, BirthTimeNeverChanges) {
  NEEDS(kBirthTime);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  Timespec born = GetAttr(ino).btime;
  Chmod(ino, 0600);
  SetTimes(ino, {1, 1}, {1, 1});
  WriteAt(ino, 0, "more");
  Must(fs_->Rename(kKernel, kRootInode, "f", kRootInode, "g", 0));
  EXPECT_EQ(GetAttr(ino).btime, born);
}

TEST_F(AttributesTest, EveryKindOfChangeRaisesTheChangeNumber) {
  NEEDS(kChangeNumber);
  InodeId ino = MakeFile(kRootInode, "f", "data");
  uint64_t last = GetAttr(ino).change;
  auto raised = [&] {
    uint64_t now = GetAttr(ino).change;
    bool grew = now > last;
    last = now;
    return grew;
  };
  EXPECT_FALSE(raised());
  WriteAt(ino, 0, "x");
  EXPECT_TRUE(raised()) << "write";
  Truncate(ino, 1);
  EXPECT_TRUE(raised()) << "truncate";
  Chmod(ino, 0600);
  EXPECT_TRUE(raised()) << "chmod";
  Must(fs_->Setxattr(kKernel, ino, "user.x", "1", XattrMode::kSet));
  EXPECT_TRUE(raised()) << "setxattr";
  Must(fs_->Removexattr(kKernel, ino, "user.x"));
  EXPECT_TRUE(raised()) << "removexattr";
  Must(fs_->Link(kKernel, ino, kRootInode, "g"));
  EXPECT_TRUE(raised()) << "link";
  Must(fs_->Unlink(kKernel, kRootInode, "g"));
  EXPECT_TRUE(raised()) << "unlink";
  Must(fs_->Rename(kKernel, kRootInode, "f", kRootInode, "h", 0));
  EXPECT_TRUE(raised()) << "rename";
}

TEST_F(AttributesTest, TheModeOfASymlinkStays0777) {
  InodeId ino = Must(Create(kRootInode, "l", FileType::kSymlink)).attr.ino;
  SetAttr changes;
  changes.uid = 9;
  EXPECT_EQ(SetErr(kKernel, ino, changes), Err::kOk);
  changes.mode = 0600;
  EXPECT_EQ(SetErr(kKernel, ino, changes),
            Can(Feature::kSymlinkMode) ? Err::kOk : Err::kNotSupported);
  EXPECT_EQ(GetAttr(ino).mode, 0777u);
  EXPECT_EQ(GetAttr(ino).uid, 9u);
}

}  // namespace
}  // namespace prism::conformance
