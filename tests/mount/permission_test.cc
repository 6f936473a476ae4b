// Who may do what, and who loses privileges, with the kernel as the judge.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

constexpr uid_t kUser = 1000;

class PermissionTest : public MountTest {
 protected:
  mode_t Mode(const std::string& name) {
    struct stat st = {};
    EXPECT_EQ(lstat(Path(name).c_str(), &st), 0);
    return st.st_mode & 07777;
  }
  // A program that everybody may write to, owned by another.
  void MakeSetId(const std::string& name) {
    WriteFile(Path(name), "#!/bin/sh\n");
    ASSERT_EQ(chown(Path(name).c_str(), 2000, 2000), 0);
    ASSERT_EQ(chmod(Path(name).c_str(), 06777), 0);
    ASSERT_EQ(Mode(name), 06777u);
  }
};

TEST_F(PermissionTest, ModeBitsAndStickyDirectories) {
  WriteFile(Path("secret"), "x");
  ASSERT_EQ(chmod(Path("secret").c_str(), 0600), 0);
  EXPECT_EQ(
      RunAs(kUser, kUser, [&] { return open(Path("secret").c_str(), O_RDONLY) < 0 ? errno : 0; }),
      EACCES);
  EXPECT_EQ(
      RunAs(kUser, kUser, [&] { return chmod(Path("secret").c_str(), 0666) < 0 ? errno : 0; }),
      EPERM);
  ASSERT_EQ(mkdir(Path("tmp").c_str(), 0), 0);
  ASSERT_EQ(chmod(Path("tmp").c_str(), 01777), 0);
  WriteFile(Path("tmp/roots"), "x");
  EXPECT_EQ(RunAs(kUser, kUser, [&] { return unlink(Path("tmp/roots").c_str()) < 0 ? errno : 0; }),
            EPERM);
  EXPECT_EQ(RunAs(kUser, kUser,
                  [&] {
                    return rename(Path("tmp/roots").c_str(), Path("tmp/mine").c_str()) < 0 ? errno
                                                                                           : 0;
                  }),
            EPERM);
}

TEST_F(PermissionTest, ANewFileMayBeWrittenWhateverItsMode) {
  EXPECT_EQ(RunAs(kUser, kUser,
                  [&] {
                    int fd = open(Path("f").c_str(), O_CREAT | O_RDWR, 0400);
                    if (fd < 0) return errno;
                    if (write(fd, "x", 1) != 1) return errno;
                    return open(Path("f").c_str(), O_RDWR) < 0 ? 0 : 99;
                  }),
            0);
  struct stat st;
  ASSERT_EQ(stat(Path("f").c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, kUser);
  EXPECT_EQ(st.st_gid, kUser);
  EXPECT_EQ(st.st_size, 1);
}

TEST_F(PermissionTest, AWriteByAnotherClearsSetIdBits) {
  MakeSetId("written");
  EXPECT_EQ(RunAs(kUser, kUser,
                  [&] {
                    int fd = open(Path("written").c_str(), O_WRONLY);
                    return write(fd, "x", 1) == 1 ? 0 : 1;
                  }),
            0);
  EXPECT_EQ(Mode("written"), 0777u);

  MakeSetId("truncated");
  EXPECT_EQ(RunAs(kUser, kUser, [&] { return truncate(Path("truncated").c_str(), 2); }), 0);
  EXPECT_EQ(Mode("truncated"), 0777u);

  MakeSetId("opened");
  EXPECT_EQ(RunAs(kUser, kUser,
                  [&] { return open(Path("opened").c_str(), O_WRONLY | O_TRUNC) >= 0 ? 0 : 1; }),
            0);
  EXPECT_EQ(Mode("opened"), 0777u);

  MakeSetId("allocated");
  EXPECT_EQ(RunAs(kUser, kUser,
                  [&] {
                    int fd = open(Path("allocated").c_str(), O_WRONLY);
                    return fallocate(fd, 0, 0, 4096) == 0 ? 0 : 1;
                  }),
            0);
  EXPECT_EQ(Mode("allocated"), 0777u);
}

TEST_F(PermissionTest, AWriteByRootKeepsThemAndAChownByAnyoneDoesNot) {
  MakeSetId("f");
  int fd = open(Path("f").c_str(), O_WRONLY);
  ASSERT_EQ(write(fd, "x", 1), 1);
  close(fd);
  EXPECT_EQ(Mode("f"), 06777u);
  ASSERT_EQ(chown(Path("f").c_str(), 3000, 3000), 0);
  EXPECT_EQ(Mode("f"), 0777u);
}

TEST_F(PermissionTest, SetIdProgramsRunWithTheirOwner) {
  ASSERT_EQ(Shell("cp /usr/bin/id " + Path("id")), 0);
  ASSERT_EQ(chown(Path("id").c_str(), 2000, 2000), 0);
  ASSERT_EQ(chmod(Path("id").c_str(), 04755), 0);
  EXPECT_EQ(RunAs(kUser, kUser,
                  [&] {
                    std::string output;
                    if (Shell(Path("id") + " -u", &output) != 0) return 1;
                    return output == "2000\n" ? 0 : 2;
                  }),
            0);
}

TEST_F(PermissionTest, ChmodByAStrangerToTheGroupDropsSetgid) {
  WriteFile(Path("f"), "");
  ASSERT_EQ(chown(Path("f").c_str(), kUser, 2000), 0);
  EXPECT_EQ(RunAs(kUser, kUser, [&] { return chmod(Path("f").c_str(), 02755); }), 0);
  EXPECT_EQ(Mode("f"), 0755u);
}

TEST_F(PermissionTest, AReadOnlyMountRefuses) {
  // Of a second mount point, whose table entry says so.
  char name[] = "/tmp/prism-mount-ro.XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  WriteFile(Path("f"), "x");
  auto inner = host_->Attach("base", false);
  ASSERT_TRUE(inner.has_value());
  auto session =
      MountSession::Start(*inner, {.directory = name, .volume = "base", .read_only = true});
  ASSERT_TRUE(session.has_value()) << session.error().message;
  std::string path = std::string(name) + "/f";
  EXPECT_EQ(ReadFile(path), "x");
  EXPECT_EQ(open(path.c_str(), O_WRONLY), -1);
  EXPECT_EQ(errno, EROFS);
  EXPECT_EQ(unlink(path.c_str()), -1);
  EXPECT_EQ(errno, EROFS);
  session->reset();
  EXPECT_EQ(rmdir(name), 0);
}

}  // namespace
}  // namespace prism::mount
