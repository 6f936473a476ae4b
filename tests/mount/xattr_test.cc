// Extended attributes, ACLs and file capabilities through the mount.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

class XattrTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    WriteFile(Path("f"), "x");
    path_ = Path("f");
  }
  mode_t Mode(const std::string& name) {
    struct stat st = {};
    EXPECT_EQ(lstat(Path(name).c_str(), &st), 0);
    return st.st_mode & 07777;
  }
  std::string path_;
};

TEST_F(XattrTest, SizesAreProbedAsXattr7Says) {
  const char* path = path_.c_str();
  ASSERT_EQ(setxattr(path, "user.a", "value", 5, 0), 0);
  EXPECT_EQ(getxattr(path, "user.a", nullptr, 0), 5);
  char buffer[8] = {};
  EXPECT_EQ(getxattr(path, "user.a", buffer, 4), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(getxattr(path, "user.a", buffer, 8), 5);
  EXPECT_STREQ(buffer, "value");
  EXPECT_EQ(listxattr(path, nullptr, 0), 7);
  EXPECT_EQ(listxattr(path, buffer, 6), -1);
  EXPECT_EQ(errno, ERANGE);
  EXPECT_EQ(listxattr(path, buffer, 7), 7);
  EXPECT_EQ(getxattr(path, "user.b", buffer, 8), -1);
  EXPECT_EQ(errno, ENODATA);
  ASSERT_EQ(setxattr(path, "user.empty", "", 0, 0), 0);
  EXPECT_EQ(getxattr(path, "user.empty", buffer, 8), 0);
}

TEST_F(XattrTest, CreateReplaceRemoveAndLimits) {
  const char* path = path_.c_str();
  EXPECT_EQ(setxattr(path, "user.a", "1", 1, XATTR_REPLACE), -1);
  EXPECT_EQ(errno, ENODATA);
  EXPECT_EQ(setxattr(path, "user.a", "1", 1, XATTR_CREATE), 0);
  EXPECT_EQ(setxattr(path, "user.a", "2", 1, XATTR_CREATE), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(removexattr(path, "user.a"), 0);
  EXPECT_EQ(removexattr(path, "user.a"), -1);
  EXPECT_EQ(errno, ENODATA);
  std::string value(65536, 'v');
  EXPECT_EQ(setxattr(path, "user.big", value.data(), value.size(), 0), 0);
  std::string back(65536, '\0');
  EXPECT_EQ(getxattr(path, "user.big", back.data(), back.size()), 65536);
  EXPECT_TRUE(back == value);
  value.push_back('v');
  EXPECT_EQ(setxattr(path, "user.bigger", value.data(), value.size(), 0), -1);
  EXPECT_EQ(errno, E2BIG);
  std::string name = "user." + std::string(251, 'n');
  EXPECT_EQ(setxattr(path, name.c_str(), "", 0, 0), -1);
  EXPECT_EQ(errno, ERANGE);
}

TEST_F(XattrTest, TrustedNamesAreForRoot) {
  ASSERT_EQ(setxattr(path_.c_str(), "trusted.t", "1", 1, 0), 0);
  ASSERT_EQ(setxattr(path_.c_str(), "user.u", "1", 1, 0), 0);
  EXPECT_EQ(listxattr(path_.c_str(), nullptr, 0), 17);
  EXPECT_EQ(
      RunAs(1000, 1000, [&] { return static_cast<int>(listxattr(path_.c_str(), nullptr, 0)); }), 7);
}

TEST_F(XattrTest, FileCapabilitiesAreKeptAndLostOnWrite) {
  std::string output;
  ASSERT_EQ(Shell("setcap cap_net_raw+ep " + path_), 0);
  ASSERT_EQ(Shell("getcap " + path_, &output), 0);
  EXPECT_NE(output.find("cap_net_raw=ep"), std::string::npos) << output;
  ASSERT_EQ(Shell("echo more >>" + path_), 0);
  ASSERT_EQ(Shell("getcap " + path_, &output), 0);
  EXPECT_EQ(output, "");
}

TEST_F(XattrTest, AclsDecideAndShowInTheMode) {
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
  EXPECT_NE(RunAs(1000, 1000, [&] { return access(path_.c_str(), R_OK) == 0 ? 0 : 1; }), 0);
  ASSERT_EQ(Shell("setfacl -m u:1000:r " + path_), 0);
  EXPECT_EQ(RunAs(1000, 1000, [&] { return open(path_.c_str(), O_RDONLY) >= 0 ? 0 : 1; }), 0);
  EXPECT_NE(RunAs(1000, 1000, [&] { return open(path_.c_str(), O_WRONLY) >= 0 ? 0 : 1; }), 0);
  EXPECT_NE(RunAs(1001, 1001, [&] { return open(path_.c_str(), O_RDONLY) >= 0 ? 0 : 1; }), 0);
  EXPECT_EQ(Mode("f"), 0640u);  // the mask
  // chmod changes the mask, and so takes the right away.
  ASSERT_EQ(chmod(path_.c_str(), 0600), 0);
  EXPECT_NE(RunAs(1000, 1000, [&] { return open(path_.c_str(), O_RDONLY) >= 0 ? 0 : 1; }), 0);
  std::string output;
  ASSERT_EQ(Shell("getfacl -cEpn " + path_, &output), 0);
  EXPECT_EQ(output, "user::rw-\nuser:1000:r--\ngroup::---\nmask::---\nother::---\n\n");
  ASSERT_EQ(Shell("setfacl -b " + path_), 0);
  EXPECT_EQ(getxattr(path_.c_str(), "system.posix_acl_access", nullptr, 0), -1);
  EXPECT_EQ(errno, ENODATA);
}

TEST_F(XattrTest, DefaultAclsAreInheritedInsteadOfTheUmask) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  ASSERT_EQ(Shell("setfacl -d -m u::rwx,u:1000:rw,g::rx,o::-,m::rwx " + Path("d")), 0);
  mode_t before = umask(077);
  WriteFile(Path("d/f"), "");
  ASSERT_EQ(mkdir(Path("d/s").c_str(), 0777), 0);
  umask(before);
  std::string output;
  ASSERT_EQ(Shell("cd " + Path("d") + " && getfacl -cEpn f s", &output), 0);
  EXPECT_EQ(output,
            "user::rw-\nuser:1000:rw-\ngroup::r-x\nmask::rw-\nother::---\n\n"
            "user::rwx\nuser:1000:rw-\ngroup::r-x\nmask::rwx\nother::---\n"
            "default:user::rwx\ndefault:user:1000:rw-\ndefault:group::r-x\ndefault:mask::rwx\n"
            "default:other::---\n\n");
  EXPECT_EQ(Mode("d/f"), 0660u);
  EXPECT_EQ(Mode("d/s"), 0770u);
  EXPECT_EQ(RunAs(1000, 1000, [&] { return open(Path("d/f").c_str(), O_RDWR) >= 0 ? 0 : 1; }), 0);
  EXPECT_EQ(RunAs(1001, 1001, [&] { return open(Path("d/f").c_str(), O_RDWR) >= 0 ? 0 : 1; }), 1);
}

// chmod by a stranger to the group drops set-group-id, and an access ACL is a chmod too.
TEST_F(XattrTest, SettingAnAclByAStrangerToTheGroupDropsSetgid) {
  ASSERT_EQ(chown(path_.c_str(), 1000, 2000), 0);
  ASSERT_EQ(chmod(path_.c_str(), 02755), 0);
  EXPECT_EQ(RunAs(1000, 1000, [&] { return Shell("setfacl -m u:5:r " + path_); }), 0);
  EXPECT_EQ(Mode("f") & 02000u, 0u);
  ASSERT_EQ(chmod(path_.c_str(), 02755), 0);
  ASSERT_EQ(Shell("setfacl -m u:6:r " + path_), 0);
  EXPECT_EQ(Mode("f") & 02000u, 02000u);
}

}  // namespace
}  // namespace prism::mount
