// Create: every type, how modes and owners come about, exclusivity, initial contents.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class CreateTest : public Conformance {
 protected:
  CreateArgs Args(std::string_view name, FileType type = FileType::kRegular) {
    CreateArgs args;
    args.parent = kRootInode;
    args.name = name;
    args.type = type;
    args.mode = 0644;
    return args;
  }
};

TEST_F(CreateTest, EveryTypeKeepsItsTypeModeAndOwner) {
  const std::pair<FileType, uint32_t> kTypes[] = {
      {FileType::kRegular, 1},    {FileType::kDirectory, 2}, {FileType::kBlockDevice, 1},
      {FileType::kCharDevice, 1}, {FileType::kSocket, 1},    {FileType::kFifo, 1}};
  for (auto [type, nlink] : kTypes) {
    std::string name = "t" + std::to_string(static_cast<int>(type));
    const Caller caller{.uid = Can(Feature::kUncheckedCallers) ? 7u : 0u, .gid = 8};
    fs::EntryResult made = Must(Create(kRootInode, name, type, 0751, caller));
    EXPECT_TRUE(made.created);
    EXPECT_EQ(made.attr.type, type);
    EXPECT_EQ(made.attr.mode, 0751u);
    EXPECT_EQ(made.attr.uid, caller.uid);
    EXPECT_EQ(made.attr.gid, 8u);
    EXPECT_EQ(made.attr.nlink, nlink);
    EXPECT_EQ(made.attr.size, 0u);
    EXPECT_EQ(made.attr, GetAttr(made.attr.ino));
    EXPECT_EQ(made.attr.atime, made.attr.mtime);
    EXPECT_EQ(made.attr.mtime, made.attr.ctime);
    if (Can(Feature::kBirthTime)) {
      EXPECT_EQ(made.attr.btime, made.attr.ctime);
    }
  }
}

TEST_F(CreateTest, TellsTheParentBeforeAndAfter) {
  Attr before = GetAttr(kRootInode);
  fs::EntryResult file = Must(Create(kRootInode, "f"));
  EXPECT_EQ(file.parent.before, before);
  EXPECT_EQ(file.parent.after, GetAttr(kRootInode));
  ExpectChanged(file.parent.after, before);
  EXPECT_EQ(file.parent.after.size, 32u);
  EXPECT_EQ(file.parent.after.nlink, 2u);
  EXPECT_GE(file.parent.after.mtime, before.mtime);
  EXPECT_EQ(file.parent.after.mtime, file.parent.after.ctime);
  fs::EntryResult dir = Must(Create(kRootInode, "d", FileType::kDirectory));
  EXPECT_EQ(dir.parent.after.nlink, 3u);
  EXPECT_EQ(dir.parent.after.size, 64u);
}

TEST_F(CreateTest, UmaskIsAppliedToTheNineBits) {
  CreateArgs args = Args("f");
  args.mode = 04777;
  args.umask = 027;
  EXPECT_EQ(Must(fs_->Create(kKernel, args)).attr.mode, 04750u);
}

TEST_F(CreateTest, DevicesKeepTheirNumbers) {
  CreateArgs args = Args("dev", FileType::kBlockDevice);
  args.rdev_major = 259;
  args.rdev_minor = 1048575;
  InodeId ino = Must(fs_->Create(kKernel, args)).attr.ino;
  EXPECT_EQ(GetAttr(ino).rdev_major, 259u);
  EXPECT_EQ(GetAttr(ino).rdev_minor, 1048575u);
}

TEST_F(CreateTest, OnlyRootMakesDevices) {
  Chmod(kRootInode, 0777);
  for (FileType type : {FileType::kCharDevice, FileType::kBlockDevice}) {
    CreateArgs args = Args("device", type);
    args.rdev_major = 1;  // 0:0 is no device to Linux, but a whiteout
    args.rdev_minor = 3;
    EXPECT_EQ(ErrOf(fs_->Create(User(5), args)), Err::kPerm);
  }
  EXPECT_EQ(ErrOf(Create(kRootInode, "p", FileType::kFifo, 0600, User(5))), Err::kOk);
  EXPECT_EQ(ErrOf(Create(kRootInode, "s", FileType::kSocket, 0600, User(5))), Err::kOk);
  EXPECT_EQ(ErrOf(Create(kRootInode, "c", FileType::kCharDevice, 0600, kRoot)), Err::kOk);
}

TEST_F(CreateTest, SymlinksKeepTheirTargetUpTo4095Bytes) {
  for (size_t length :
       {size_t{1}, size_t{60}, size_t{Can(Feature::kLongTargets) ? 4095u : 2000u}}) {
    std::string target = Pattern(length);
    std::string name = "l" + std::to_string(length);
    CreateArgs args = Args(name, FileType::kSymlink);
    args.symlink_target = target;
    Attr attr = Must(fs_->Create(kKernel, args)).attr;
    EXPECT_EQ(attr.size, length);
    EXPECT_EQ(attr.mode, 0777u);
    EXPECT_EQ(Must(fs_->Readlink(kKernel, attr.ino)), target);
  }
}

TEST_F(CreateTest, TooLongSymlinkTargetsAreRefused) {
  NEEDS(kLongTargets);
  CreateArgs args = Args("l", FileType::kSymlink);
  std::string too_long(4096, 't');
  args.symlink_target = too_long;
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kNameTooLong);
  EXPECT_FALSE(Exists(kRootInode, "l"));
}

TEST_F(CreateTest, EmptySymlinkTargetsAndThoseWithNulAreRefused) {
  NEEDS(kAnyName);
  CreateArgs args = Args("l", FileType::kSymlink);
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kInvalid);
  args.symlink_target = std::string_view("a\0b", 3);
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kInvalid);
  EXPECT_FALSE(Exists(kRootInode, "l"));
}

TEST_F(CreateTest, ReadlinkOfAnythingElseIsInvalid) {
  EXPECT_EQ(ErrOf(fs_->Readlink(kKernel, MakeFile(kRootInode, "f"))), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Readlink(kKernel, kRootInode)), Err::kInvalid);
}

TEST_F(CreateTest, GuardedRefusesAnExistingNameOfAnyType) {
  MakeFile(kRootInode, "f", "data");
  MakeDir(kRootInode, "d");
  for (const char* name : {"f", "d"})
    for (FileType type : {FileType::kRegular, FileType::kDirectory, FileType::kSymlink,
                          FileType::kFifo, FileType::kCharDevice})
      EXPECT_EQ(ErrOf(Create(kRootInode, name, type)), Err::kExists);
  EXPECT_EQ(ReadAll(Find(kRootInode, "f")), "data");
}

TEST_F(CreateTest, UncheckedReturnsTheExistingFileAsItIs) {
  InodeId ino = MakeFile(kRootInode, "f", "data", 0600);
  CreateArgs args = Args("f");
  args.exclusivity = fs::Exclusivity::kUnchecked;
  args.mode = 0777;
  args.initial.uid = 99;
  Attr before = GetAttr(ino);
  fs::EntryResult result = Must(fs_->Create(kKernel, args));
  EXPECT_FALSE(result.created);
  EXPECT_EQ(result.attr, before);
  EXPECT_EQ(result.parent.before, result.parent.after);
}

TEST_F(CreateTest, UncheckedWithASizeTruncatesTheExistingFile) {
  InodeId ino = MakeFile(kRootInode, "f", "data");
  CreateArgs args = Args("f");
  args.exclusivity = fs::Exclusivity::kUnchecked;
  args.initial.size = 0;
  fs::EntryResult result = Must(fs_->Create(kKernel, args));
  EXPECT_EQ(result.attr.ino, ino);
  EXPECT_EQ(result.attr.size, 0u);
  EXPECT_EQ(ReadAll(ino), "");
}

TEST_F(CreateTest, UncheckedCreatesWhatIsNotThere) {
  CreateArgs args = Args("f");
  args.exclusivity = fs::Exclusivity::kUnchecked;
  EXPECT_TRUE(Must(fs_->Create(kKernel, args)).created);
}

TEST_F(CreateTest, UncheckedRefusesWhatIsNotARegularFile) {
  NEEDS(kUncheckedErrors);
  MakeDir(kRootInode, "d");
  Must(Create(kRootInode, "l", FileType::kSymlink));
  for (const char* name : {"d", "l"}) {
    CreateArgs args = Args(name);
    args.exclusivity = fs::Exclusivity::kUnchecked;
    EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kExists);
  }
}

TEST_F(CreateTest, VerifiedIsIdempotentForTheSameVerifierOnly) {
  NEEDS(kVerifier);
  CreateArgs args = Args("f");
  args.exclusivity = fs::Exclusivity::kVerified;
  args.verifier = 0x1122334455667788;
  fs::EntryResult first = Must(fs_->Create(kKernel, args));
  EXPECT_TRUE(first.created);
  EXPECT_EQ(Must(fs_->Create(kKernel, args)).attr.ino, first.attr.ino);
  args.verifier = 0x1122334455667789;
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kExists);
}

TEST_F(CreateTest, VerifiedRefusesAFileThatWasMadeOtherwise) {
  NEEDS(kVerifier);
  MakeFile(kRootInode, "f");
  CreateArgs args = Args("f");
  args.exclusivity = fs::Exclusivity::kVerified;
  args.verifier = 5;
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kExists);
}

TEST_F(CreateTest, InitialAttributesAreExact) {
  CreateArgs args = Args("f");
  args.umask = 077;
  args.initial.mode = 06755;
  args.initial.uid = 11;
  args.initial.gid = 12;
  args.initial.size = 100000;
  args.initial.atime = Timespec{Can(Feature::kAnyTime) ? -5 : 5, 6};
  args.initial.mtime = Timespec{7, 999999999};
  Attr attr = Must(fs_->Create(kKernel, args)).attr;
  EXPECT_EQ(attr.mode, 06755u);
  EXPECT_EQ(attr.uid, 11u);
  EXPECT_EQ(attr.gid, 12u);
  EXPECT_EQ(attr.size, 100000u);
  EXPECT_EQ(attr.atime, *args.initial.atime);
  EXPECT_EQ(attr.mtime, (Timespec{7, 999999999}));
  EXPECT_EQ(attr, GetAttr(attr.ino));
  EXPECT_EQ(ReadAll(attr.ino), std::string(100000, '\0'));
}

TEST_F(CreateTest, InitialDataAndXattrsAreThereAtOnce) {
  NEEDS(kXattrs);
  for (size_t size : {size_t{1}, size_t{4095}, size_t{4096}, size_t{4097}, size_t{65536}}) {
    std::string data = Pattern(size);
    std::string name = "f" + std::to_string(size);
    const fs::Xattr xattrs[] = {{"user.a", "1"}, {"security.b", ""}};
    CreateArgs args = Args(name);
    args.data = AsBytes(data);
    args.xattrs = xattrs;
    Attr attr = Must(fs_->Create(kKernel, args)).attr;
    EXPECT_EQ(attr.size, size);
    EXPECT_EQ(ReadAll(attr.ino), data);
    EXPECT_EQ(Must(fs_->Getxattr(kKernel, attr.ino, "user.a")), "1");
    EXPECT_EQ(Must(fs_->Getxattr(kKernel, attr.ino, "security.b")), "");
  }
}

TEST_F(CreateTest, NothingIsMadeWhenSomeOfTheInitialStateIsRefused) {
  NEEDS(kCreateInOneStep);
  std::string too_much(fs::kInitialDataMax + 1, 'x');
  CreateArgs args = Args("f");
  args.data = AsBytes(too_much);
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kInvalid);
  args.data = {};
  const fs::Xattr unknown[] = {{"user.good", "1"}, {"nonsense.b", ""}};
  args.xattrs = unknown;
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kNotSupported);
  args.xattrs = {};
  args.initial.size = fs::kFileSizeMax + 1;
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kTooLarge);
  args.initial.size.reset();
  args.type = FileType::kDirectory;
  args.data = AsBytes("directories have no data");
  EXPECT_EQ(ErrOf(fs_->Create(kKernel, args)), Err::kInvalid);
  EXPECT_TRUE(List(kRootInode).empty());
}

TEST_F(CreateTest, TypesAndExclusivitiesOutsideTheEnumerationsAreMalformed) {
  NEEDS(kAnyValue);
  for (uint8_t type : {0, 8, 255}) {
    CreateArgs args = Args("f", static_cast<FileType>(type));
    EXPECT_TRUE(IsMalformed(ErrOf(fs_->Create(kKernel, args))));
  }
  CreateArgs args = Args("f");
  args.exclusivity = static_cast<fs::Exclusivity>(3);
  EXPECT_TRUE(IsMalformed(ErrOf(fs_->Create(kKernel, args))));
}

TEST_F(CreateTest, ASetGroupIdDirectoryGivesItsGroupAndDirectoriesItsBit) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 02777, 1, 50);
  Attr file = Must(Create(dir, "f", FileType::kRegular, 0644, User(5))).attr;
  EXPECT_EQ(file.gid, 50u);
  EXPECT_EQ(file.mode, 0644u);
  Attr sub = Must(Create(dir, "s", FileType::kDirectory, 0755, User(5))).attr;
  EXPECT_EQ(sub.gid, 50u);
  EXPECT_EQ(sub.mode, 02755u);
}

TEST_F(CreateTest, ForeignSetGroupIdIsStrippedFromANewFile) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 02777, 1, 50);
  EXPECT_EQ(Must(Create(dir, "f", FileType::kRegular, 02755, User(5))).attr.mode, 0755u);
  const uint32_t groups[] = {50};
  EXPECT_EQ(Must(Create(dir, "g", FileType::kRegular, 02755, User(5, groups))).attr.mode, 02755u);
}

TEST_F(CreateTest, InARemovedDirectoryThereIsNoEntryToMake) {
  const Err expected = Can(Feature::kOrphans) ? Err::kNoEntry : Err::kStale;
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId file = MakeFile(kRootInode, "f");
  Must(fs_->Rmdir(kKernel, kRootInode, "d"));
  EXPECT_EQ(ErrOf(Create(dir, "x")), expected);
  EXPECT_EQ(ErrOf(Create(dir, "x", FileType::kDirectory)), expected);
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, file, dir, "x")), expected);
  EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, "f", dir, "x", 0)), expected);
  EXPECT_TRUE(Exists(kRootInode, "f"));
}

}  // namespace
}  // namespace prism::conformance
