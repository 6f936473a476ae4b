// POSIX ACLs as the extended attributes system.posix_acl_access and system.posix_acl_default.
#include "fs/base/bytes.h"
#include "tests/conformance/suite.h"

namespace prism::conformance {
namespace {

constexpr char kAccessName[] = "system.posix_acl_access";
constexpr char kDefaultName[] = "system.posix_acl_default";
constexpr uint32_t kNoId = 0xffffffff;
enum Tag : uint16_t { kUserObj = 1, kUser = 2, kGroupObj = 4, kGroup = 8, kMask = 16, kOther = 32 };

struct Entry {
  uint16_t tag;
  uint16_t perm;
  uint32_t id = kNoId;
};

std::string Encode(const std::vector<Entry>& entries, uint32_t version = 2) {
  std::string bytes;
  ByteWriter writer(bytes);
  writer.Put(version);
  for (const Entry& entry : entries) {
    writer.Put(entry.tag);
    writer.Put(entry.perm);
    writer.Put(entry.id);
  }
  return bytes;
}

class AclTest : public Conformance {
 protected:
  void SetUp() override { NEEDS(kXattrs); }
  Err Set(InodeId ino, const char* name, const std::string& value, const Caller& caller = kKernel) {
    return ErrOf(fs_->Setxattr(caller, ino, name, value, XattrMode::kSet));
  }
  void MustSet(InodeId ino, const char* name, const std::string& value, At at = At::current()) {
    Must(fs_->Setxattr(kKernel, ino, name, value, XattrMode::kSet), at);
  }
  std::string Get(InodeId ino, const char* name) { return Must(fs_->Getxattr(kKernel, ino, name)); }
  Err GetErr(InodeId ino, const char* name) { return ErrOf(fs_->Getxattr(kKernel, ino, name)); }
  uint32_t Access(const Caller& caller, InodeId ino) { return Must(fs_->Access(caller, ino, 7)); }
};

TEST_F(AclTest, AListIsReturnedAsItWasSetAndChangesTheMode) {
  InodeId ino = MakeFile(kRootInode, "f", {}, 04600);
  std::string acl =
      Encode({{kUserObj, 6}, {kUser, 7, 10}, {kGroupObj, 4}, {kMask, 5}, {kOther, 1}});
  EXPECT_EQ(Set(ino, kAccessName, acl), Err::kOk);
  EXPECT_EQ(Get(ino, kAccessName), acl);
  EXPECT_EQ(GetAttr(ino).mode, 04651u);
}

TEST_F(AclTest, AListThatSaysNoMoreThanTheModeIsOnlyTheMode) {
  InodeId ino = MakeFile(kRootInode, "f", {}, 0600);
  EXPECT_EQ(Set(ino, kAccessName, Encode({{kUserObj, 7}, {kGroupObj, 5}, {kOther, 0}})), Err::kOk);
  EXPECT_EQ(GetAttr(ino).mode, 0750u);
  EXPECT_EQ(GetErr(ino, kAccessName), Err::kNoAttribute);
}

TEST_F(AclTest, ChmodChangesOwnerMaskAndOthers) {
  InodeId ino = MakeFile(kRootInode, "f");
  MustSet(ino, kAccessName,
          Encode({{kUserObj, 6}, {kUser, 7, 10}, {kGroupObj, 4}, {kMask, 7}, {kOther, 4}}));
  Chmod(ino, 0510);
  EXPECT_EQ(Get(ino, kAccessName),
            Encode({{kUserObj, 5}, {kUser, 7, 10}, {kGroupObj, 4}, {kMask, 1}, {kOther, 0}}));
  EXPECT_EQ(GetAttr(ino).mode, 0510u);
}

TEST_F(AclTest, NamedUsersAndGroupsAreLimitedByTheMask) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0600, 1, 1);
  MustSet(ino, kAccessName,
          Encode({{kUserObj, 6},
                  {kUser, 7, 10},
                  {kUser, 0, 12},
                  {kGroupObj, 7},
                  {kGroup, 6, 20},
                  {kMask, 5},
                  {kOther, 2}}));
  const uint32_t in_named[] = {20};
  const uint32_t in_owning[] = {1};
  EXPECT_EQ(Access(User(1), ino), 6u) << "the owner is not masked";
  EXPECT_EQ(Access(User(10), ino), 5u);
  EXPECT_EQ(Access(User(12), ino), 0u) << "a named user's entry decides alone";
  EXPECT_EQ(Access(User(13, in_named), ino), 4u);
  EXPECT_EQ(Access(User(13, in_owning), ino), 5u);
  EXPECT_EQ(Access(User(13), ino), 2u) << "others are not masked";
}

TEST_F(AclTest, MembersOfAnyMatchingGroupDoNotFallThroughToOthers) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0600, 1, 1);
  MustSet(ino, kAccessName,
          Encode({{kUserObj, 6}, {kGroupObj, 0}, {kGroup, 0, 20}, {kMask, 7}, {kOther, 7}}));
  const uint32_t in_named[] = {20};
  EXPECT_EQ(Access(User(13, in_named), ino), 0u);
  EXPECT_EQ(Access(User(13), ino), 7u);
}

TEST_F(AclTest, EntriesOfSeveralGroupsDoNotAddUp) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0700, 1, 1);
  MustSet(dir, kAccessName,
          Encode({{kUserObj, 7},
                  {kGroupObj, 0},
                  {kGroup, 2, 20},
                  {kGroup, 5, 21},
                  {kMask, 7},
                  {kOther, 0}}));
  const uint32_t groups[] = {20, 21};
  EXPECT_EQ(Access(User(13, groups), dir), 7u) << "each alone";
  EXPECT_EQ(ErrOf(Create(dir, "f", FileType::kRegular, 0600, User(13, groups))), Err::kAccess)
      << "write and search together";
}

TEST_F(AclTest, ListsAreEnforcedForCheckedCallers) {
  InodeId dir = MakeOwned(kRootInode, "d", FileType::kDirectory, 0700, 1, 1);
  MustSet(dir, kAccessName,
          Encode({{kUserObj, 7}, {kUser, 7, 10}, {kGroupObj, 0}, {kMask, 7}, {kOther, 0}}));
  EXPECT_EQ(ErrOf(Create(dir, "f", FileType::kRegular, 0600, User(10))), Err::kOk);
  EXPECT_EQ(ErrOf(Create(dir, "g", FileType::kRegular, 0600, User(11))), Err::kAccess);
}

TEST_F(AclTest, FilesInheritTheDefaultListLimitedByTheirModeWithoutUmask) {
  InodeId dir = MakeDir(kRootInode, "d");
  EXPECT_EQ(Set(dir, kDefaultName,
                Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 7}, {kOther, 5}})),
            Err::kOk);
  CreateArgs args;
  args.parent = dir;
  args.name = "f";
  args.mode = 0664;
  args.umask = 0777;
  Attr file = Must(fs_->Create(kKernel, args)).attr;
  EXPECT_EQ(file.mode, 0664u);
  EXPECT_EQ(Get(file.ino, kAccessName),
            Encode({{kUserObj, 6}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 6}, {kOther, 4}}));
  EXPECT_EQ(GetErr(file.ino, kDefaultName), Err::kNoAttribute);
}

TEST_F(AclTest, DirectoriesInheritTheDefaultListAlsoAsTheirOwnDefault) {
  InodeId dir = MakeDir(kRootInode, "d");
  std::string acl =
      Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 7}, {kOther, 5}});
  MustSet(dir, kDefaultName, acl);
  InodeId sub = MakeDir(dir, "sub", 0750);
  EXPECT_EQ(Get(sub, kDefaultName), acl);
  EXPECT_EQ(Get(sub, kAccessName),
            Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 5}, {kOther, 0}}));
  EXPECT_EQ(GetAttr(sub).mode, 0750u);
}

TEST_F(AclTest, AMinimalDefaultListGivesOnlyAMode) {
  InodeId dir = MakeDir(kRootInode, "d");
  MustSet(dir, kDefaultName, Encode({{kUserObj, 7}, {kGroupObj, 4}, {kOther, 1}}));
  Attr file = Must(Create(dir, "f", FileType::kRegular, 0666)).attr;
  EXPECT_EQ(file.mode, 0640u);
  EXPECT_EQ(GetErr(file.ino, kAccessName), Err::kNoAttribute);
}

TEST_F(AclTest, SymlinksInheritNothing) {
  InodeId dir = MakeDir(kRootInode, "d");
  MustSet(dir, kDefaultName,
          Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 7}, {kOther, 5}}));
  EXPECT_EQ(Must(Create(dir, "l", FileType::kSymlink)).attr.mode, 0777u);
}

TEST_F(AclTest, ADefaultListDoesNotChangeTheDirectorysOwnMode) {
  InodeId dir = MakeDir(kRootInode, "d", 0700);
  MustSet(dir, kDefaultName, Encode({{kUserObj, 7}, {kGroupObj, 7}, {kOther, 7}}));
  EXPECT_EQ(GetAttr(dir).mode, 0700u);
}

TEST_F(AclTest, RemovingAListLeavesTheMode) {
  InodeId dir = MakeDir(kRootInode, "d");
  std::string acl =
      Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 3}, {kOther, 1}});
  for (const char* name : {kAccessName, kDefaultName}) {
    EXPECT_EQ(Set(dir, name, acl), Err::kOk);
    EXPECT_EQ(ErrOf(fs_->Removexattr(kKernel, dir, name)), Err::kOk);
    EXPECT_EQ(GetErr(dir, name), Err::kNoAttribute);
    EXPECT_EQ(GetAttr(dir).mode, 0731u);
    EXPECT_EQ(ErrOf(fs_->Removexattr(kKernel, dir, name)), Err::kOk) << "as Linux: nothing to do";
  }
}

TEST_F(AclTest, ListsAreListedWhileThereAreAny) {
  InodeId dir = MakeDir(kRootInode, "d");
  std::string acl =
      Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 3}, {kOther, 1}});
  EXPECT_TRUE(Must(fs_->Listxattr(kKernel, dir)).empty());
  MustSet(dir, kAccessName, acl);
  MustSet(dir, kDefaultName, acl);
  EXPECT_EQ(Must(fs_->Listxattr(kKernel, dir)).size(), 2u);
}

TEST_F(AclTest, MalformedListsAreRefused) {
  InodeId ino = MakeFile(kRootInode, "f", {}, 0640);
  const std::vector<std::vector<Entry>> kBad = {
      {{kUserObj, 7}},
      {{kUserObj, 7}, {kGroupObj, 7}},
      {{kGroupObj, 7}, {kUserObj, 7}, {kOther, 7}},
      {{kUserObj, 7}, {kUserObj, 7}, {kGroupObj, 7}, {kOther, 7}},
      {{kUserObj, 8}, {kGroupObj, 7}, {kOther, 7}},
      {{kUserObj, 7}, {kUser, 7, 10}, {kGroupObj, 7}, {kOther, 7}},
      {{kUserObj, 7}, {kUser, 7, kNoId}, {kGroupObj, 7}, {kMask, 7}, {kOther, 7}},
      {{kUserObj, 7}, {kGroupObj, 7}, {3, 7}, {kOther, 7}},
      {{kUserObj, 7}, {kGroupObj, 7}, {kMask, 7}, {kMask, 7}, {kOther, 7}},
  };
  for (size_t i = 0; i < kBad.size(); ++i)
    EXPECT_EQ(Set(ino, kAccessName, Encode(kBad[i])), Err::kInvalid) << i;
  std::string good = Encode({{kUserObj, 7}, {kGroupObj, 7}, {kOther, 7}});
  EXPECT_EQ(Set(ino, kAccessName, good.substr(0, 3)), Err::kInvalid);
  EXPECT_EQ(Set(ino, kAccessName, good.substr(0, good.size() - 1)), Err::kInvalid);
  EXPECT_EQ(Set(ino, kAccessName, Encode({{kUserObj, 7}, {kGroupObj, 7}, {kOther, 7}}, 3)),
            Err::kNotSupported);
  EXPECT_EQ(GetAttr(ino).mode, 0640u);
}

TEST_F(AclTest, OnlyOwnersAndRootSetLists) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 0666, 10, 10);
  std::string acl =
      Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 3}, {kOther, 1}});
  EXPECT_EQ(Set(ino, kAccessName, acl, User(11)), Err::kPerm);
  EXPECT_EQ(ErrOf(fs_->Removexattr(User(11), ino, kAccessName)), Err::kPerm);
  EXPECT_EQ(Set(ino, kAccessName, acl, User(10)), Err::kOk);
  EXPECT_EQ(Set(ino, kAccessName, acl, kRoot), Err::kOk);
}

TEST_F(AclTest, DefaultListsAreForDirectoriesAndNoneForSymlinks) {
  InodeId file = MakeFile(kRootInode, "f");
  InodeId link = Must(Create(kRootInode, "l", FileType::kSymlink)).attr.ino;
  std::string acl = Encode({{kUserObj, 7}, {kGroupObj, 5}, {kOther, 1}});
  EXPECT_EQ(Set(file, kDefaultName, acl), Err::kAccess);
  EXPECT_EQ(Set(link, kAccessName, acl), Err::kNotSupported);
}

TEST_F(AclTest, SettingAListByAStrangerToTheGroupDropsSetGroupId) {
  InodeId ino = MakeOwned(kRootInode, "f", FileType::kRegular, 02755, 10, 77);
  std::string acl =
      Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 7}, {kOther, 1}});
  EXPECT_EQ(Set(ino, kAccessName, acl, User(10)), Err::kOk);
  EXPECT_EQ(GetAttr(ino).mode, 0771u);
}

TEST_F(AclTest, ListsMayComeWithCreate) {
  std::string acl =
      Encode({{kUserObj, 7}, {kUser, 6, 10}, {kGroupObj, 5}, {kMask, 7}, {kOther, 1}});
  const fs::Xattr xattrs[] = {{kAccessName, acl}};
  CreateArgs args;
  args.parent = kRootInode;
  args.name = "f";
  args.mode = 0600;
  args.xattrs = xattrs;
  Attr attr = Must(fs_->Create(kKernel, args)).attr;
  EXPECT_EQ(attr.mode, 0771u);
  EXPECT_EQ(Get(attr.ino, kAccessName), acl);
}

}  // namespace
}  // namespace prism::conformance
