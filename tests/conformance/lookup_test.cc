// Names, Lookup, Getattr, and the errors of inodes that are not there.
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr InodeId kNeverUsed = kInodeMax - 7;

using LookupTest = Conformance;

TEST_F(LookupTest, AFreshVolumeHasAnEmptyRootOwnedByRoot) {
  Attr root = GetAttr(kRootInode);
  EXPECT_EQ(root.ino, kRootInode);
  EXPECT_EQ(root.type, FileType::kDirectory);
  EXPECT_EQ(root.mode, 0755u);
  EXPECT_EQ(root.nlink, 2u);
  EXPECT_EQ(root.uid, 0u);
  EXPECT_EQ(root.gid, 0u);
  EXPECT_EQ(root.size, 0u);
  EXPECT_TRUE(List(kRootInode).empty());
}

TEST_F(LookupTest, FindsWhatWasCreatedAndNothingElse) {
  InodeId file = MakeFile(kRootInode, "name");
  EXPECT_EQ(Find(kRootInode, "name"), file);
  EXPECT_EQ(LookupErr(kRootInode, "Name"), Err::kNoEntry);
  EXPECT_EQ(LookupErr(kRootInode, "nam"), Err::kNoEntry);
  EXPECT_EQ(LookupErr(kRootInode, "name "), Err::kNoEntry);
}

TEST_F(LookupTest, ReturnsAttributesAndAnUnchangedParent) {
  MakeFile(kRootInode, "f", "12345");
  fs::EntryResult found = Must(fs_->Lookup(kKernel, kRootInode, "f"));
  EXPECT_EQ(found.attr.size, 5u);
  EXPECT_FALSE(found.created);
  EXPECT_EQ(found.parent.before, found.parent.after);
  EXPECT_EQ(found.parent.after.ino, kRootInode);
}

TEST_F(LookupTest, DotIsTheDirectoryItself) {
  InodeId dir = MakeDir(kRootInode, "d");
  EXPECT_EQ(Find(dir, "."), dir);
  EXPECT_EQ(Find(kRootInode, "."), kRootInode);
}

TEST_F(LookupTest, DotDotIsTheParentAlsoAfterAMoveAndOfTheRootItself) {
  InodeId one = MakeDir(kRootInode, "one");
  InodeId two = MakeDir(kRootInode, "two");
  InodeId child = MakeDir(one, "child");
  EXPECT_EQ(Find(child, ".."), one);
  Must(fs_->Rename(kKernel, one, "child", two, "moved", 0));
  EXPECT_EQ(Find(child, ".."), two);
  EXPECT_EQ(Find(kRootInode, ".."), kRootInode);
}

TEST_F(LookupTest, EmptyNameIsNoEntry) { EXPECT_EQ(LookupErr(kRootInode, ""), Err::kNoEntry); }

TEST_F(LookupTest, NamesOf255BytesWorkAnd256AreTooLong) {
  std::string longest(255, 'n');
  InodeId ino = MakeFile(kRootInode, longest);
  EXPECT_EQ(Find(kRootInode, longest), ino);
  EXPECT_EQ(List(kRootInode).count(longest), 1u);
  std::string beyond(256, 'n');
  EXPECT_EQ(LookupErr(kRootInode, beyond), Err::kNameTooLong);
  EXPECT_EQ(ErrOf(Create(kRootInode, beyond)), Err::kNameTooLong);
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, ino, kRootInode, beyond)), Err::kNameTooLong);
  EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, kRootInode, beyond)), Err::kNameTooLong);
  EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, beyond)), Err::kNameTooLong);
  EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, longest, kRootInode, beyond, 0)),
            Err::kNameTooLong);
  EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, beyond, kRootInode, longest, 0)),
            Err::kNameTooLong);
}

TEST_F(LookupTest, EveryByteButSlashAndNulMayBeInAName) {
  for (int byte = 1; byte < 256; ++byte) {
    if (byte == '/') continue;
    std::string name = std::string("x") + static_cast<char>(byte);
    InodeId ino = MakeFile(kRootInode, name);
    EXPECT_EQ(Find(kRootInode, name), ino) << byte;
  }
  EXPECT_EQ(List(kRootInode).size(), 254u);
}

TEST_F(LookupTest, SlashAndNulAreInvalidInANewName) {
  NEEDS(kAnyName);
  using std::string_literals::operator""s;
  for (const std::string& name : {"a/b"s, "/"s, "a\0b"s, "\0"s, ""s, "."s, ".."s}) {
    EXPECT_EQ(ErrOf(Create(kRootInode, name)), Err::kInvalid) << name;
    EXPECT_EQ(ErrOf(Create(kRootInode, name, FileType::kDirectory)), Err::kInvalid) << name;
    EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, kRootInode, name)), Err::kInvalid) << name;
    EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, kRootInode, name)), Err::kInvalid) << name;
  }
  MakeFile(kRootInode, "f");
  EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, "f", kRootInode, "..", 0)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, ".", kRootInode, "g", 0)), Err::kInvalid);
  EXPECT_EQ(ErrOf(fs_->Link(kKernel, Find(kRootInode, "f"), kRootInode, "a/b")), Err::kInvalid);
}

TEST_F(LookupTest, AnInodeThatNeverWasIsStaleForEveryOperation) {
  NEEDS(kInodeByNumber);
  std::byte buffer[1] = {};
  for (InodeId ino : {kNeverUsed, InodeId{0}, kInodeMax, ~InodeId{0}}) {
    SCOPED_TRACE(ino);
    EXPECT_EQ(LookupErr(ino, "x"), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Getattr(kKernel, ino)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Setattr(kKernel, ino, {})), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Access(kKernel, ino, 4)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Readlink(kKernel, ino)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Read(kKernel, ino, 0, buffer)), Err::kStale);
    EXPECT_EQ(WriteErr(kKernel, ino, 0, "x"), Err::kStale);
    EXPECT_EQ(ErrOf(Create(ino, "x")), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Link(kKernel, ino, kRootInode, "x")), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, ino, "x")), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, ino, "x")), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Rename(kKernel, ino, "x", ino, "y", 0)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Readdir(kKernel, ino, 0, false, [](auto&) { return true; })), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Fsync(kKernel, ino, false)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Getxattr(kKernel, ino, "user.x")), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Setxattr(kKernel, ino, "user.x", "v", XattrMode::kSet)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Listxattr(kKernel, ino)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Removexattr(kKernel, ino, "user.x")), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Fallocate(kKernel, ino, FallocateMode::kAllocate, 0, 1)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->Seek(kKernel, ino, 0, SeekWhence::kData)), Err::kStale);
    EXPECT_EQ(ErrOf(fs_->CopyRange(kKernel, ino, 0, ino, 9, 1)), Err::kStale);
  }
}

TEST_F(LookupTest, DirectoryOperationsOnAnythingElseAreNotDirectory) {
  InodeId file = MakeFile(kRootInode, "file");
  for (FileType type : {FileType::kSymlink, FileType::kFifo, FileType::kRegular}) {
    InodeId ino =
        type == FileType::kRegular
            ? file
            : Must(Create(kRootInode, type == FileType::kFifo ? "fifo" : "link", type)).attr.ino;
    EXPECT_EQ(LookupErr(ino, "x"), Err::kNotDirectory);
    EXPECT_EQ(LookupErr(ino, "."), Err::kNotDirectory);
    EXPECT_EQ(LookupErr(ino, ".."), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(Create(ino, "x")), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(fs_->Link(kKernel, file, ino, "x")), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(fs_->Unlink(kKernel, ino, "x")), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(fs_->Rmdir(kKernel, ino, "x")), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(fs_->Rename(kKernel, ino, "x", kRootInode, "y", 0)), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(fs_->Rename(kKernel, kRootInode, "file", ino, "y", 0)), Err::kNotDirectory);
    EXPECT_EQ(ErrOf(fs_->Readdir(kKernel, ino, 0, false, [](auto&) { return true; })),
              Err::kNotDirectory);
  }
}

TEST_F(LookupTest, InodeNumbersAreNeverUsedAgain) {
  InodeId first = MakeFile(kRootInode, "f");
  Must(fs_->Unlink(kKernel, kRootInode, "f"));
  Must(fs_->Release(kKernel, first));
  InodeId second = MakeFile(kRootInode, "f");
  EXPECT_GT(second, first);
}

}  // namespace
}  // namespace prism::conformance
