// Names through the mount: creation of every type, links, renames, listings.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

class NameTest : public MountTest {
 protected:
  struct stat Stat(const std::string& name, size_t mount = 0) {
    struct stat st = {};
    if (lstat(Path(name, mount).c_str(), &st) != 0) st.st_ino = 0;
    return st;
  }
  void Touch(const std::string& name) { WriteFile(Path(name), name); }
};

TEST_F(NameTest, MakesEveryTypeOfFile) {
  std::string dir = Path("");
  ASSERT_EQ(mknod(Path("char").c_str(), S_IFCHR | 0640, makedev(4095, 1048575)), 0);
  ASSERT_EQ(mknod(Path("block").c_str(), S_IFBLK | 0600, makedev(8, 300)), 0);
  ASSERT_EQ(mknod(Path("fifo").c_str(), S_IFIFO | 0666, 0), 0);
  ASSERT_EQ(mknod(Path("socket").c_str(), S_IFSOCK | 0777, 0), 0);
  ASSERT_EQ(mknod(Path("plain").c_str(), S_IFREG | 0604, 0), 0);
  ASSERT_EQ(symlink("to/nowhere", Path("link").c_str()), 0);
  struct stat st = Stat("char");
  EXPECT_TRUE(S_ISCHR(st.st_mode));
  EXPECT_EQ(major(st.st_rdev), 4095u);
  EXPECT_EQ(minor(st.st_rdev), 1048575u);
  st = Stat("block");
  EXPECT_TRUE(S_ISBLK(st.st_mode));
  EXPECT_EQ(st.st_rdev, makedev(8, 300));
  EXPECT_TRUE(S_ISFIFO(Stat("fifo").st_mode));
  EXPECT_TRUE(S_ISSOCK(Stat("socket").st_mode));
  EXPECT_TRUE(S_ISREG(Stat("plain").st_mode));
  EXPECT_TRUE(S_ISLNK(Stat("link").st_mode));
  EXPECT_EQ(Stat("link").st_size, 10);
  char target[64] = {};
  ASSERT_EQ(readlink(Path("link").c_str(), target, sizeof target), 10);
  EXPECT_STREQ(target, "to/nowhere");
}

TEST_F(NameTest, DevicesAreDevices) {
  ASSERT_EQ(mknod(Path("zero").c_str(), S_IFCHR | 0666, makedev(1, 5)), 0);
  int fd = open(Path("zero").c_str(), O_RDONLY);
  ASSERT_GE(fd, 0) << strerror(errno);
  char bytes[4] = {1, 1, 1, 1};
  EXPECT_EQ(read(fd, bytes, 4), 4);
  EXPECT_EQ(bytes[3], 0);
  close(fd);
}

TEST_F(NameTest, UmaskAppliesAndSetgidDirectoriesInherit) {
  mode_t before = umask(027);
  ASSERT_EQ(mkdir(Path("d").c_str(), 0777), 0);
  Touch("f");
  umask(before);
  EXPECT_EQ(Stat("d").st_mode & 07777, 0750u);
  EXPECT_EQ(Stat("f").st_mode & 07777, 0640u);
  ASSERT_EQ(chown(Path("d").c_str(), 0, 77), 0);
  ASSERT_EQ(chmod(Path("d").c_str(), 02755), 0);
  ASSERT_EQ(mkdir(Path("d/sub").c_str(), 0755), 0);
  Touch("d/file");
  EXPECT_EQ(Stat("d/sub").st_gid, 77u);
  EXPECT_EQ(Stat("d/sub").st_mode & 07777, 02755u);
  EXPECT_EQ(Stat("d/file").st_gid, 77u);
}

TEST_F(NameTest, HardLinksShareTheInode) {
  Touch("a");
  ASSERT_EQ(link(Path("a").c_str(), Path("b").c_str()), 0);
  EXPECT_EQ(Stat("a").st_ino, Stat("b").st_ino);
  EXPECT_EQ(Stat("a").st_nlink, 2u);
  ASSERT_EQ(unlink(Path("a").c_str()), 0);
  EXPECT_EQ(Stat("b").st_nlink, 1u);
  EXPECT_EQ(ReadFile(Path("b")), "a");
  EXPECT_EQ(link(Path("b").c_str(), Path("b").c_str()), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_TRUE(file_system().released().empty());
}

TEST_F(NameTest, RenameFlags) {
  Touch("a");
  Touch("b");
  ino_t a = Stat("a").st_ino, b = Stat("b").st_ino;
  std::string from = Path("a"), to = Path("b");
  EXPECT_EQ(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE), -1);
  EXPECT_EQ(errno, EEXIST);
  ASSERT_EQ(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE), 0);
  EXPECT_EQ(Stat("a").st_ino, b);
  EXPECT_EQ(Stat("b").st_ino, a);
  EXPECT_EQ(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_WHITEOUT), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, Path("c").c_str(), RENAME_NOREPLACE), 0);
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(Path("d/e").c_str(), 0755), 0);
  EXPECT_EQ(rename(Path("d").c_str(), Path("d/e/f").c_str()), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(rename(Path("c").c_str(), Path("d").c_str()), -1);
  EXPECT_EQ(errno, EISDIR);
  EXPECT_EQ(rename(Path("d").c_str(), Path("c").c_str()), -1);
  EXPECT_EQ(errno, ENOTDIR);
}

TEST_F(NameTest, ErrorsOfDirectories) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  Touch("d/x");
  EXPECT_EQ(rmdir(Path("d").c_str()), -1);
  EXPECT_EQ(errno, ENOTEMPTY);
  EXPECT_EQ(unlink(Path("d").c_str()), -1);
  EXPECT_EQ(errno, EISDIR);
  EXPECT_EQ(mkdir(Path("d").c_str(), 0755), -1);
  EXPECT_EQ(errno, EEXIST);
  EXPECT_EQ(mkdir(Path("d/x/y").c_str(), 0755), -1);
  EXPECT_EQ(errno, ENOTDIR);
  EXPECT_EQ(mknod(Path("d/x").c_str(), S_IFREG | 0600, 0), -1);
  EXPECT_EQ(errno, EEXIST);
  std::string longest(255, 'n');
  Touch(longest);
  EXPECT_EQ(ReadFile(Path(longest)), longest);
  EXPECT_EQ(mkdir(Path(longest + "n").c_str(), 0755), -1);
  EXPECT_EQ(errno, ENAMETOOLONG);
}

// The kernel believes that the name is free; another mount has made it meanwhile, and the event may
// not have arrived. open must see the file, O_EXCL must refuse.
TEST_F(NameTest, OpenCreateMeetsAFileOfAnotherMount) {
  AddMount();
  for (int i = 0; i < 200; ++i) {
    std::string name = "f" + std::to_string(i);
    EXPECT_EQ(Stat(name).st_ino, 0u);  // the absence is cached
    int other = open(Path(name, 1).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644);
    ASSERT_GE(other, 0);
    bool exclusive = i % 2 == 1;
    int fd = open(Path(name).c_str(), O_CREAT | O_RDWR | (exclusive ? O_EXCL : 0), 0644);
    if (exclusive) {
      ASSERT_EQ(fd, -1);
      ASSERT_EQ(errno, EEXIST);
    } else {
      ASSERT_GE(fd, 0) << strerror(errno);
    }
    if (fd >= 0) close(fd);
    close(other);
  }
}

TEST_F(NameTest, ListingsAreWholeAndTyped) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  ASSERT_EQ(symlink("x", Path("d/l").c_str()), 0);
  ASSERT_EQ(mkdir(Path("d/s").c_str(), 0755), 0);
  Touch("d/f");
  DIR* dir = opendir(Path("d").c_str());
  ASSERT_NE(dir, nullptr);
  std::map<std::string, int> types;
  std::map<std::string, ino_t> inodes;
  while (dirent* entry = readdir(dir)) {
    types[entry->d_name] = entry->d_type;
    inodes[entry->d_name] = entry->d_ino;
  }
  closedir(dir);
  EXPECT_EQ(types,
            (std::map<std::string, int>{
                {".", DT_DIR}, {"..", DT_DIR}, {"l", DT_LNK}, {"s", DT_DIR}, {"f", DT_REG}}));
  EXPECT_EQ(inodes["."], Stat("d").st_ino);
  EXPECT_EQ(inodes[".."], Stat("").st_ino);
  EXPECT_EQ(inodes["f"], Stat("d/f").st_ino);
}

TEST_F(NameTest, AListingSurvivesDeletionOfWhatItHasShown) {
  constexpr int kFiles = 10000;
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  for (int i = 0; i < kFiles; ++i) {
    int fd = open(Path("d/" + std::to_string(i)).c_str(), O_CREAT | O_WRONLY, 0600);
    ASSERT_GE(fd, 0);
    close(fd);
  }
  for (bool deleting : {false, true}) {
    DIR* dir = opendir(Path("d").c_str());
    ASSERT_NE(dir, nullptr);
    std::multiset<std::string> seen;
    while (dirent* entry = readdir(dir)) {
      if (entry->d_name[0] == '.') continue;
      seen.insert(entry->d_name);
      if (deleting) {
        ASSERT_EQ(unlinkat(dirfd(dir), entry->d_name, 0), 0) << entry->d_name;
      }
    }
    closedir(dir);
    EXPECT_EQ(seen.size(), static_cast<size_t>(kFiles));
    EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), static_cast<size_t>(kFiles));
  }
  EXPECT_EQ(rmdir(Path("d").c_str()), 0);
}

TEST_F(NameTest, ListingWithAttributesSparesLookups) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  for (int i = 0; i < 500; ++i) WriteFile(Path("d/" + std::to_string(i), 0), "x");
  size_t second = AddMount();
  file_system(second).Reset();
  ASSERT_EQ(Shell("ls -l " + Path("d", second) + " >/dev/null"), 0);
  // But for those that a first listing leaves out, to see whether they are asked for.
  EXPECT_LE(file_system(second).Calls("Lookup") + file_system(second).Calls("Getattr"), 20u + 64u)
      << file_system(second).Summary();
}

TEST_F(NameTest, OwnChangesCostNoQuestions) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  file_system().Reset();
  for (int i = 0; i < 50; ++i) WriteFile(Path("d/" + std::to_string(i), 0), "x");
  for (int i = 0; i < 50; ++i) {
    std::string name = Path("d/" + std::to_string(i));
    ASSERT_EQ(rename(name.c_str(), (name + "x").c_str()), 0);
  }
  // One place in 256 is shared.
  EXPECT_LE(file_system().Calls("Getattr") + file_system().Calls("Getxattr"), 2u)
      << file_system().Summary();
  struct stat st;
  ASSERT_EQ(stat(Path("d").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 50 * 32);
}

TEST_F(NameTest, AListingThatNobodyLooksAtIsBare) {
  for (std::string dir : {"d", "e"}) {
    ASSERT_EQ(mkdir(Path(dir).c_str(), 0755), 0);
    for (int i = 0; i < 500; ++i) WriteFile(Path(dir + "/" + std::to_string(i), 0), "x");
  }
  size_t second = AddMount();
  ASSERT_EQ(Shell("find " + Path("d", second) + " -name none"), 0);
  size_t known = session(second).known_inodes();
  ASSERT_EQ(Shell("find " + Path("e", second) + " -name none"), 0);
  EXPECT_LE(session(second).known_inodes(), known + 1);
  ASSERT_EQ(Shell("ls -l " + Path("e", second) + " >/dev/null"), 0);
  EXPECT_GE(session(second).known_inodes(), known + 501);
}

TEST_F(NameTest, AListingAgainComesFromTheCache) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  Touch("d/a");
  Touch("d/b");
  for (int i = 0; i < 3; ++i) {
    file_system().Reset();
    DIR* dir = opendir(Path("d").c_str());
    int entries = 0;
    while (readdir(dir) != nullptr) ++entries;
    closedir(dir);
    EXPECT_EQ(entries, 4);
    // One question for the time of access, which a listing has changed.
    EXPECT_EQ(file_system().Calls("Readdir") > 0, i == 0) << file_system().Summary();
    EXPECT_TRUE(i == 0 || file_system().Calls("*") <= 1) << file_system().Summary();
  }
}

TEST_F(NameTest, SeekdirReturnsToTheSamePlace) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  for (int i = 0; i < 2000; ++i) Touch("d/" + std::to_string(i));
  DIR* dir = opendir(Path("d").c_str());
  for (int i = 0; i < 1500; ++i) ASSERT_NE(readdir(dir), nullptr);
  long place = telldir(dir);
  std::string next = readdir(dir)->d_name;
  rewinddir(dir);
  EXPECT_STREQ(readdir(dir)->d_name, ".");
  seekdir(dir, place);
  EXPECT_EQ(readdir(dir)->d_name, next);
  closedir(dir);
}

TEST_F(NameTest, Statfs) {
  struct statvfs info;
  ASSERT_EQ(statvfs(Path("").c_str(), &info), 0);
  EXPECT_EQ(info.f_namemax, 255u);
  EXPECT_GT(info.f_blocks, 0u);
  EXPECT_GE(info.f_blocks, info.f_bfree);
}

TEST_F(NameTest, TimesToTheNanosecond) {
  Touch("f");
  timespec times[2] = {{.tv_sec = 1234567890, .tv_nsec = 123456789},
                       {.tv_sec = -5, .tv_nsec = 987654321}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("f").c_str(), times, 0), 0);
  struct stat st = Stat("f");
  EXPECT_EQ(st.st_atim.tv_nsec, 123456789);
  EXPECT_EQ(st.st_mtim.tv_sec, -5);
  EXPECT_EQ(st.st_mtim.tv_nsec, 987654321);
  timespec omit[2] = {{.tv_sec = 0, .tv_nsec = UTIME_OMIT}, {.tv_sec = 0, .tv_nsec = UTIME_NOW}};
  ASSERT_EQ(utimensat(AT_FDCWD, Path("f").c_str(), omit, 0), 0);
  EXPECT_EQ(Stat("f").st_atim.tv_nsec, 123456789);
  EXPECT_GT(Stat("f").st_mtim.tv_sec, 1600000000);
}

TEST_F(NameTest, ForgottenInodesLeaveTheTable) {
  ASSERT_EQ(mkdir(Path("d").c_str(), 0755), 0);
  for (int i = 0; i < 300; ++i) Touch("d/" + std::to_string(i));
  EXPECT_GE(session().known_inodes(), 300u);
  for (int i = 0; i < 300; ++i) unlink(Path("d/" + std::to_string(i)).c_str());
  EXPECT_TRUE(Eventually([&] { return session().known_inodes() < 10; }))
      << session().known_inodes();
  EXPECT_TRUE(Eventually([&] { return file_system().released().size() == 300; }));
  EXPECT_EQ(file_system().Calls("ReleaseFailed"), 0u);
}

// What the kernel's NFS server does with a client's handle, when it has no such inode in memory.
TEST_F(NameTest, AFileHandleOpensInAMountThatHasNeverSeenTheFile) {
  AddMount();
  Touch("file");
  ASSERT_EQ(mkdir(Path("dir").c_str(), 0755), 0);
  ASSERT_EQ(symlink("target", Path("link").c_str()), 0);
  int mount_fd = open(Path("", 1).c_str(), O_RDONLY | O_DIRECTORY);
  ASSERT_GE(mount_fd, 0);
  for (const char* name : {"file", "dir", "link"}) {
    alignas(file_handle) char buffer[sizeof(file_handle) + MAX_HANDLE_SZ];
    auto* handle = reinterpret_cast<file_handle*>(buffer);
    handle->handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    ASSERT_EQ(name_to_handle_at(AT_FDCWD, Path(name).c_str(), handle, &mount_id, 0), 0) << name;
    int fd = open_by_handle_at(mount_fd, handle, O_PATH | O_NOFOLLOW);
    EXPECT_GE(fd, 0) << name << ": " << std::strerror(errno);
    struct stat st = {};
    EXPECT_EQ(fstat(fd, &st), 0);
    EXPECT_EQ(st.st_ino, Stat(name).st_ino);
    EXPECT_EQ(st.st_mode, Stat(name).st_mode);
    if (fd >= 0) close(fd);
  }
  close(mount_fd);
}

}  // namespace
}  // namespace prism::mount
