// Extended attributes: values, modes, limits, namespaces and who may do what.
#include <algorithm>

#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

class XattrTest : public Conformance {
 protected:
  void SetUp() override { NEEDS(kXattrs); }
  Err SetErr(InodeId ino, std::string_view name, std::string_view value,
             XattrMode mode = XattrMode::kSet, const Caller& caller = kKernel) {
    return ErrOf(fs_->Setxattr(caller, ino, name, value, mode));
  }
  std::string Get(InodeId ino, std::string_view name) {
    return Must(fs_->Getxattr(kKernel, ino, name));
  }
  Err GetErr(InodeId ino, std::string_view name, const Caller& caller = kKernel) {
    return ErrOf(fs_->Getxattr(caller, ino, name));
  }
  std::vector<std::string> Names(InodeId ino, const Caller& caller = kKernel) {
    std::vector<std::string> names = Must(fs_->Listxattr(caller, ino));
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(XattrTest, ValuesOfEverySizeComeBack) {
  InodeId ino = MakeFile(kRootInode, "f");
  for (size_t size : {0, 1, 100, 4095, 4096, 4097, 65535, 65536}) {
    std::string value = Pattern(size, 3);
    EXPECT_EQ(SetErr(ino, "user.x", value), Err::kOk) << size;
    EXPECT_TRUE(Get(ino, "user.x") == value) << size;
  }
  EXPECT_EQ(SetErr(ino, "user.x", std::string(65537, 'x')), Err::kTooBig);
  EXPECT_EQ(Get(ino, "user.x").size(), 65536u);
}

TEST_F(XattrTest, ValuesMayHoldAnyByte) {
  InodeId ino = MakeFile(kRootInode, "f");
  std::string value;
  for (int i = 0; i < 256; ++i) value += static_cast<char>(i);
  EXPECT_EQ(SetErr(ino, "user.x", value), Err::kOk);
  EXPECT_EQ(Get(ino, "user.x"), value);
}

TEST_F(XattrTest, CreateAndReplaceModes) {
  InodeId ino = MakeFile(kRootInode, "f");
  EXPECT_EQ(SetErr(ino, "user.x", "1", XattrMode::kReplace), Err::kNoAttribute);
  EXPECT_EQ(SetErr(ino, "user.x", "2", XattrMode::kCreate), Err::kOk);
  EXPECT_EQ(SetErr(ino, "user.x", "3", XattrMode::kCreate), Err::kExists);
  EXPECT_EQ(Get(ino, "user.x"), "2");
  EXPECT_EQ(SetErr(ino, "user.x", "4", XattrMode::kReplace), Err::kOk);
  EXPECT_EQ(Get(ino, "user.x"), "4");
  EXPECT_TRUE(IsMalformed(SetErr(ino, "user.x", "5", static_cast<XattrMode>(3))));
}

TEST_F(XattrTest, WhatIsNotThereIsNoAttribute) {
  InodeId ino = MakeFile(kRootInode, "f");
  EXPECT_EQ(GetErr(ino, "user.x"), Err::kNoAttribute);
  EXPECT_EQ(ErrOf(fs_->Removexattr(kKernel, ino, "user.x")), Err::kNoAttribute);
  EXPECT_EQ(SetErr(ino, "user.x", "1"), Err::kOk);
  EXPECT_EQ(GetErr(ino, "user.xx"), Err::kNoAttribute);
  EXPECT_EQ(GetErr(ino, "user.X"), Err::kNoAttribute);
  EXPECT_EQ(GetErr(ino, "trusted.x"), Err::kNoAttribute);
}

TEST_F(XattrTest, ListsAllNames) {
  InodeId ino = MakeFile(kRootInode, "f");
  EXPECT_TRUE(Names(ino).empty());
  std::vector<std::string> expected;
  for (int i = 0; i < 200; ++i) {
    expected.push_back("user.name-" + std::to_string(i));
    EXPECT_EQ(SetErr(ino, expected.back(), std::to_string(i)), Err::kOk);
  }
  for (const char* name : {"trusted.t", "security.s"}) {
    expected.push_back(name);
    EXPECT_EQ(SetErr(ino, name, "v"), Err::kOk);
  }
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Names(ino), expected);
  for (int i = 0; i < 200; ++i)
    EXPECT_EQ(Get(ino, "user.name-" + std::to_string(i)), std::to_string(i));
  for (const std::string& name : expected)
    EXPECT_EQ(ErrOf(fs_->Removexattr(kKernel, ino, name)), Err::kOk);
  EXPECT_TRUE(Names(ino).empty());
}

TEST_F(XattrTest, NamesOf255BytesWorkAnd256AreOutOfRange) {
  InodeId ino = MakeFile(kRootInode, "f");
  std::string longest = "user." + std::string(250, 'n');
  EXPECT_EQ(SetErr(ino, longest, "v"), Err::kOk);
  EXPECT_EQ(Get(ino, longest), "v");
  EXPECT_EQ(SetErr(ino, longest + "n", "v"), Err::kRange);
  EXPECT_EQ(SetErr(ino, "", "v"), Err::kRange);
}

TEST_F(XattrTest, NamespacesThatAreUnknownAreNotSupported) {
  InodeId ino = MakeFile(kRootInode, "f");
  for (const char* name : {"x", "users.x", "system.x", "system.nfs4_acl", "usr.a", ".x"}) {
    EXPECT_EQ(SetErr(ino, name, "v"), Err::kNotSupported) << name;
    EXPECT_EQ(GetErr(ino, name), Err::kNotSupported) << name;
    EXPECT_EQ(ErrOf(fs_->Removexattr(kKernel, ino, name)), Err::kNotSupported) << name;
  }
  EXPECT_EQ(SetErr(ino, "user.", "v"), Err::kInvalid);
}

TEST_F(XattrTest, TheListOfNamesIsBounded) {
  InodeId ino = MakeFile(kRootInode, "f");
  size_t listed = 0;
  Err err = Err::kOk;
  for (int i = 0; err == Err::kOk; ++i) {
    std::string name = "user." + std::to_string(1000 + i) + std::string(246, 'n');
    ASSERT_EQ(name.size(), 255u);
    err = SetErr(ino, name, "v");
    if (err == Err::kOk) listed += name.size() + 1;
    ASSERT_LE(listed, fs::kXattrListMax);
  }
  EXPECT_EQ(err, Err::kNoSpace);
  EXPECT_EQ(listed, fs::kXattrListMax);
  EXPECT_EQ(Names(ino).size(), 256u);
}

TEST_F(XattrTest, ChangesSetCtimeAndChangeOnly) {
  InodeId ino = MakeFile(kRootInode, "f");
  Attr expected = GetAttr(ino);
  EXPECT_EQ(SetErr(ino, "user.x", "1"), Err::kOk);
  Attr after = GetAttr(ino);
  ExpectChanged(after, expected);
  EXPECT_GE(after.ctime, expected.ctime);
  expected.change = after.change;
  expected.ctime = after.ctime;
  EXPECT_EQ(after, expected);
}

TEST_F(XattrTest, DirectoriesHoldUserAttributesAndSymlinksDoNot) {
  InodeId dir = MakeDir(kRootInode, "d");
  InodeId link = Must(Create(kRootInode, "l", FileType::kSymlink)).attr.ino;
  InodeId fifo = Must(Create(kRootInode, "p", FileType::kFifo)).attr.ino;
  EXPECT_EQ(SetErr(dir, "user.x", "1"), Err::kOk);
  for (InodeId ino : {link, fifo}) {
    EXPECT_EQ(SetErr(ino, "user.x", "1"), Err::kPerm);
    EXPECT_EQ(GetErr(ino, "user.x"), Err::kNoAttribute);
    EXPECT_EQ(SetErr(ino, "trusted.x", "1"), Err::kOk);
    EXPECT_EQ(SetErr(ino, "security.x", "1"), Err::kOk);
    EXPECT_EQ(Get(ino, "trusted.x"), "1");
  }
}

TEST_F(XattrTest, UserAttributesNeedReadAndWrite) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0604, 10, 10);
  EXPECT_EQ(SetErr(ino, "user.x", "1", XattrMode::kSet, User(10)), Err::kOk);
  EXPECT_EQ(GetErr(ino, "user.x", User(11)), Err::kOk);
  EXPECT_EQ(SetErr(ino, "user.x", "2", XattrMode::kSet, User(11)), Err::kAccess);
  EXPECT_EQ(ErrOf(fs_->Removexattr(User(11), ino, "user.x")), Err::kAccess);
  Chmod(ino, 0602);
  EXPECT_EQ(GetErr(ino, "user.x", User(11)), Err::kAccess);
  EXPECT_EQ(SetErr(ino, "user.x", "2", XattrMode::kSet, User(11)), Err::kOk);
}

TEST_F(XattrTest, TrustedAndSecurityAreRoots) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0666, 10, 10);
  EXPECT_EQ(SetErr(ino, "trusted.x", "1", XattrMode::kSet, User(10)), Err::kPerm);
  EXPECT_EQ(SetErr(ino, "security.x", "1", XattrMode::kSet, User(10)), Err::kPerm);
  EXPECT_EQ(SetErr(ino, "trusted.x", "1", XattrMode::kSet, kRoot), Err::kOk);
  EXPECT_EQ(SetErr(ino, "security.x", "1", XattrMode::kSet, kRoot), Err::kOk);
  EXPECT_EQ(GetErr(ino, "trusted.x", User(10)), Err::kNoAttribute);
  EXPECT_EQ(GetErr(ino, "security.x", User(10)), Err::kOk);
  EXPECT_EQ(ErrOf(fs_->Removexattr(User(10), ino, "trusted.x")), Err::kPerm);
  EXPECT_EQ(Names(ino, User(10)), std::vector<std::string>{"security.x"});
  EXPECT_EQ(Names(ino, kRoot).size(), 2u);
}

TEST_F(XattrTest, InStickyDirectoriesOnlyTheirOwnerSetsUserAttributesOnThem) {
  InodeId dir = MakeOwned(kRootInode, "tmp", FileType::kDirectory, 01777, 10, 10);
  EXPECT_EQ(SetErr(dir, "user.x", "1", XattrMode::kSet, User(11)), Err::kPerm);
  EXPECT_EQ(SetErr(dir, "user.x", "1", XattrMode::kSet, User(10)), Err::kOk);
}

TEST_F(XattrTest, LinksShareAndRenamesKeepThem) {
  InodeId ino = MakeFile(kRootInode, "f");
  EXPECT_EQ(SetErr(ino, "user.x", "1"), Err::kOk);
  Must(fs_->Link(kKernel, ino, kRootInode, "g"));
  Must(fs_->Rename(kKernel, kRootInode, "f", kRootInode, "h", 0));
  EXPECT_EQ(Get(Find(kRootInode, "g"), "user.x"), "1");
  EXPECT_EQ(Get(Find(kRootInode, "h"), "user.x"), "1");
}

}  // namespace
}  // namespace prism::conformance
