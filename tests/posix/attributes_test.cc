// Modes, owners, times, permissions, statfs.
#include <sys/statvfs.h>
#include <sys/vfs.h>

#include <ctime>

#include "tests/posix/posix.h"

namespace prism::posix {
namespace {

constexpr uid_t kAlice = 61001, kBob = 61002;

bool Earlier(const timespec& a, const timespec& b) {
  return a.tv_sec != b.tv_sec ? a.tv_sec < b.tv_sec : a.tv_nsec < b.tv_nsec;
}

class AttributesTest : public Posix {
 protected:
  // A directory in which everybody may do everything.
  std::string MakePublicDir(std::string_view name) { return MakeDir(name, 0777); }
  mode_t ModeOf(const std::string& path) { return Stat(path).st_mode & 07777; }
  void SetTimes(const std::string& path, timespec atime, timespec mtime) {
    timespec times[2] = {atime, mtime};
    EXPECT_CALL(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW));
  }
  // Time passes at the granularity of the kernel's clock.
  void Tick() { usleep(20000); }
};

TEST_F(AttributesTest, ModesAreSetExactlyAndUmaskIsApplied) {
  std::string file = MakeFile("f");
  for (mode_t mode : {07777u, 0u, 0644u, 04711u, 01000u}) {
    EXPECT_CALL(chmod(file.c_str(), mode));
    EXPECT_EQ(ModeOf(file), mode);
  }
  umask(027);
  MakeFile("g", {}, 0777);
  MakeDir("d", 0777);
  umask(0);
  EXPECT_EQ(ModeOf(Path("g")), 0750u);
  EXPECT_EQ(ModeOf(Path("d")), 0750u);
}

TEST_F(AttributesTest, TimesAreSetToTheNanosecond) {
  std::string file = MakeFile("f");
  SetTimes(file, {1000000000, 123456789}, {1500000000, 999999999});
  struct stat attr = Stat(file);
  EXPECT_EQ(attr.st_atim.tv_sec, 1000000000);
  EXPECT_EQ(attr.st_atim.tv_nsec, 123456789);
  EXPECT_EQ(attr.st_mtim.tv_sec, 1500000000);
  EXPECT_EQ(attr.st_mtim.tv_nsec, 999999999);
  SetTimes(file, {-5, 7}, {0, UTIME_OMIT});
  attr = Stat(file);
  EXPECT_EQ(attr.st_atim.tv_sec, -5);
  EXPECT_EQ(attr.st_atim.tv_nsec, 7);
  EXPECT_EQ(attr.st_mtim.tv_sec, 1500000000);
  timespec before{};
  clock_gettime(CLOCK_REALTIME_COARSE, &before);
  SetTimes(file, {0, UTIME_OMIT}, {0, UTIME_NOW});
  EXPECT_FALSE(Earlier(Stat(file).st_mtim, before));
  EXPECT_EQ(Stat(file).st_atim.tv_sec, -5);
}

TEST_F(AttributesTest, SymlinksHaveTimesOfTheirOwn) {
  std::string file = MakeFile("f");
  EXPECT_CALL(symlink("f", Path("l").c_str()));
  SetTimes(Path("l"), {11, 0}, {12, 0});
  EXPECT_EQ(Stat(Path("l")).st_mtim.tv_sec, 12);
  EXPECT_NE(Stat(file).st_mtim.tv_sec, 12);
}

TEST_F(AttributesTest, WritingSetsMtimeAndCtime) {
  std::string file = MakeFile("f", "data");
  SetTimes(file, {1, 0}, {2, 0});
  struct stat before = Stat(file);
  Tick();
  Append(file, "more");
  struct stat after = Stat(file);
  EXPECT_TRUE(Earlier(before.st_mtim, after.st_mtim));
  EXPECT_TRUE(Earlier(before.st_ctim, after.st_ctim));
}

TEST_F(AttributesTest, ExplicitTimesSurviveTheCloseOfAWrittenFile) {
  std::string file = Path("f");
  {
    Fd fd(open(file.c_str(), O_CREAT | O_WRONLY, 0644));
    EXPECT_EQ(write(fd.get(), "data", 4), 4);
    timespec times[2] = {{100, 5}, {200, 6}};
    EXPECT_CALL(futimens(fd.get(), times));
  }
  EXPECT_EQ(Stat(file).st_mtim.tv_sec, 200);
  sync();
  EXPECT_EQ(Stat(file).st_mtim.tv_sec, 200);
  EXPECT_EQ(Stat(file).st_mtim.tv_nsec, 6);
}

TEST_F(AttributesTest, AttributeChangesSetCtimeOnly) {
  std::string file = MakeFile("f", "data");
  SetTimes(file, {1, 0}, {2, 0});
  struct stat before = Stat(file);
  Tick();
  EXPECT_CALL(chmod(file.c_str(), 0600));
  struct stat chmodded = Stat(file);
  EXPECT_TRUE(Earlier(before.st_ctim, chmodded.st_ctim));
  Tick();
  EXPECT_CALL(link(file.c_str(), Path("g").c_str()));
  struct stat linked = Stat(file);
  EXPECT_TRUE(Earlier(chmodded.st_ctim, linked.st_ctim));
  Tick();
  EXPECT_CALL(unlink(Path("g").c_str()));
  EXPECT_TRUE(Earlier(linked.st_ctim, Stat(file).st_ctim));
  EXPECT_EQ(Stat(file).st_mtim.tv_sec, 2);
}

TEST_F(AttributesTest, ChangesOfEntriesSetTheDirectorysTimes) {
  MakeDir("d");
  const std::function<void()> kChanges[] = {
      [&] { MakeFile("d/f"); },
      [&] { EXPECT_CALL(link(Path("d/f").c_str(), Path("d/g").c_str())); },
      [&] { EXPECT_CALL(rename(Path("d/g").c_str(), Path("d/h").c_str())); },
      [&] { EXPECT_CALL(unlink(Path("d/h").c_str())); },
      [&] { EXPECT_CALL(mkdir(Path("d/s").c_str(), 0755)); },
      [&] { EXPECT_CALL(rmdir(Path("d/s").c_str())); },
  };
  for (const auto& change : kChanges) {
    struct stat before = Stat(Path("d"));
    Tick();
    change();
    EXPECT_TRUE(Earlier(before.st_mtim, Stat(Path("d")).st_mtim));
    EXPECT_TRUE(Earlier(before.st_ctim, Stat(Path("d")).st_ctim));
  }
}

TEST_F(AttributesTest, StatvfsIsPlausible) {
  struct statvfs usage {};
  EXPECT_CALL(statvfs(Path().c_str(), &usage));
  EXPECT_EQ(usage.f_namemax, 255u);
  EXPECT_GT(usage.f_blocks, 0u);
  EXPECT_GE(usage.f_blocks, usage.f_bfree);
  EXPECT_GE(usage.f_bfree, usage.f_bavail);
  EXPECT_GT(usage.f_files, 0u);
  EXPECT_GT(usage.f_ffree, 0u);
}

TEST_F(AttributesTest, InodeNumbersAreStableAndDistinct) {
  std::string one = MakeFile("one"), two = MakeFile("two");
  ino_t ino = Stat(one).st_ino;
  EXPECT_NE(ino, Stat(two).st_ino);
  EXPECT_CALL(rename(one.c_str(), Path("three").c_str()));
  EXPECT_EQ(Stat(Path("three")).st_ino, ino);
  EXPECT_EQ(Stat(Path("three")).st_dev, Stat(Path()).st_dev);
}

TEST_F(AttributesTest, PermissionBitsAreEnforced) {
  NEEDS_ROOT();
  std::string file = MakeFile("f", "data", 0640);
  EXPECT_CALL(chown(file.c_str(), kAlice, kAlice));
  auto open_as = [&](uid_t uid, int flags) {
    return ErrnoName(RunAs(uid, [&] { return ERRNO_OF(open(file.c_str(), flags)); }));
  };
  EXPECT_EQ(open_as(kAlice, O_RDWR), "success");
  EXPECT_EQ(open_as(kBob, O_RDONLY), "EACCES");
  EXPECT_CALL(chmod(file.c_str(), 0604));
  EXPECT_EQ(open_as(kBob, O_RDONLY), "success");
  EXPECT_EQ(open_as(kBob, O_WRONLY), "EACCES");
  EXPECT_CALL(chmod(file.c_str(), 0066));
  EXPECT_EQ(open_as(kAlice, O_RDONLY), "EACCES") << "the owner's bits alone count";
  EXPECT_EQ(RunAs(kBob, kBob, {kAlice}, [&] { return ERRNO_OF(open(file.c_str(), O_RDWR)); }), 0);
}

TEST_F(AttributesTest, AFileMadeReadOnlyIsStillWrittenThroughItsDescriptor) {
  NEEDS_ROOT();
  std::string dir = MakePublicDir("d");
  EXPECT_EQ(RunAs(kAlice,
                  [&] {
                    int fd = open((dir + "/f").c_str(), O_CREAT | O_EXCL | O_WRONLY, 0444);
                    if (fd < 0) return errno;
                    return write(fd, "data", 4) == 4 && close(fd) == 0 ? 0 : errno;
                  }),
            0);
  EXPECT_EQ(Contents(dir + "/f"), "data");
}

TEST_F(AttributesTest, DirectoriesNeedWriteAndSearch) {
  NEEDS_ROOT();
  std::string dir = MakeDir("d", 0755);
  MakeFile("d/f", "data");
  auto as_bob = [&](const std::function<int()>& body) { return ErrnoName(RunAs(kBob, body)); };
  std::string file = dir + "/f", other = dir + "/g";
  auto create = [&] { return ERRNO_OF(open(other.c_str(), O_CREAT | O_WRONLY, 0644)); };
  auto remove = [&] { return ERRNO_OF(unlink(file.c_str())); };
  auto look = [&] { return ERRNO_OF(access(file.c_str(), F_OK)); };
  auto list = [&] { return ERRNO_OF(open(dir.c_str(), O_RDONLY | O_DIRECTORY)); };
  EXPECT_EQ(as_bob(create), "EACCES");
  EXPECT_EQ(as_bob(remove), "EACCES");
  EXPECT_EQ(as_bob(look), "success");
  EXPECT_CALL(chmod(dir.c_str(), 0754));
  EXPECT_EQ(as_bob(look), "EACCES");
  EXPECT_EQ(as_bob(list), "success");
  EXPECT_CALL(chmod(dir.c_str(), 0753));
  EXPECT_EQ(as_bob(list), "EACCES");
  EXPECT_EQ(as_bob(create), "success");
  EXPECT_EQ(as_bob(remove), "success");
}

TEST_F(AttributesTest, NewFilesBelongToTheirMaker) {
  NEEDS_ROOT();
  std::string dir = MakePublicDir("d");
  EXPECT_EQ(RunAs(kAlice, kBob, {},
                  [&] { return ERRNO_OF(open((dir + "/f").c_str(), O_CREAT | O_WRONLY, 0644)); }),
            0);
  EXPECT_EQ(Stat(dir + "/f").st_uid, kAlice);
  EXPECT_EQ(Stat(dir + "/f").st_gid, kBob);
}

TEST_F(AttributesTest, SetGroupIdDirectoriesGiveTheirGroup) {
  NEEDS_ROOT();
  std::string dir = MakePublicDir("d");
  EXPECT_CALL(chown(dir.c_str(), 0, kAlice));
  EXPECT_CALL(chmod(dir.c_str(), 02777));
  EXPECT_EQ(RunAs(kBob,
                  [&] {
                    if (mkdir((dir + "/s").c_str(), 0755) != 0) return errno;
                    return ERRNO_OF(open((dir + "/f").c_str(), O_CREAT | O_WRONLY, 0644));
                  }),
            0);
  EXPECT_EQ(Stat(dir + "/f").st_gid, kAlice);
  EXPECT_EQ(Stat(dir + "/s").st_gid, kAlice);
  EXPECT_EQ(ModeOf(dir + "/s"), 02755u);
  EXPECT_EQ(ModeOf(dir + "/f"), 0644u);
}

TEST_F(AttributesTest, StickyDirectoriesProtectOthersFiles) {
  NEEDS_ROOT();
  std::string dir = MakePublicDir("tmp");
  EXPECT_CALL(chmod(dir.c_str(), 01777));
  std::string file = MakeFile("tmp/f", {}, 0666);
  EXPECT_CALL(chown(file.c_str(), kAlice, kAlice));
  auto as = [&](uid_t uid, const std::function<int()>& body) {
    return ErrnoName(RunAs(uid, body));
  };
  auto remove = [&] { return ERRNO_OF(unlink(file.c_str())); };
  auto move = [&] { return ERRNO_OF(rename(file.c_str(), (dir + "/g").c_str())); };
  EXPECT_EQ(as(kBob, remove), "EPERM");
  EXPECT_EQ(as(kBob, move), "EPERM");
  EXPECT_EQ(as(kAlice, remove), "success");
}

TEST_F(AttributesTest, OnlyOwnersChangeModesAndTimes) {
  NEEDS_ROOT();
  std::string file = MakeFile("f", {}, 0666);
  EXPECT_CALL(chown(file.c_str(), kAlice, kAlice));
  auto as = [&](uid_t uid, const std::function<int()>& body) {
    return ErrnoName(RunAs(uid, body));
  };
  auto change = [&] { return ERRNO_OF(chmod(file.c_str(), 0666)); };
  timespec times[2] = {{1, 0}, {2, 0}};
  auto set_times = [&] { return ERRNO_OF(utimensat(AT_FDCWD, file.c_str(), times, 0)); };
  auto touch = [&] { return ERRNO_OF(utimensat(AT_FDCWD, file.c_str(), nullptr, 0)); };
  EXPECT_EQ(as(kBob, change), "EPERM");
  EXPECT_EQ(as(kBob, set_times), "EPERM");
  EXPECT_EQ(as(kBob, touch), "success") << "who may write may touch";
  EXPECT_EQ(as(kAlice, change), "success");
  EXPECT_EQ(as(kAlice, set_times), "success");
  EXPECT_CALL(chmod(file.c_str(), 0644));
  EXPECT_EQ(as(kBob, touch), "EACCES");
}

TEST_F(AttributesTest, OnlyRootGivesFilesAway) {
  NEEDS_ROOT();
  std::string file = MakeFile("f");
  EXPECT_CALL(chown(file.c_str(), kAlice, kAlice));
  auto chown_as = [&](uid_t uid, std::vector<gid_t> groups, uid_t to_uid, gid_t to_gid) {
    return ErrnoName(
        RunAs(uid, uid, groups, [&] { return ERRNO_OF(chown(file.c_str(), to_uid, to_gid)); }));
  };
  constexpr uid_t kSame = static_cast<uid_t>(-1);
  EXPECT_EQ(chown_as(kAlice, {}, kBob, kSame), "EPERM");
  EXPECT_EQ(chown_as(kAlice, {}, kSame, kBob), "EPERM");
  EXPECT_EQ(chown_as(kBob, {}, kBob, kSame), "EPERM");
  EXPECT_EQ(chown_as(kAlice, {kBob}, kSame, kBob), "success");
  EXPECT_EQ(Stat(file).st_gid, kBob);
}

TEST_F(AttributesTest, SetIdBitsFallAwayOnChownWriteAndTruncateByOthersThanRoot) {
  NEEDS_ROOT();
  std::string file = MakeFile("f", "data");
  auto prepare = [&] {
    EXPECT_CALL(chown(file.c_str(), kAlice, kAlice));
    EXPECT_CALL(chmod(file.c_str(), 06777));
  };
  prepare();
  EXPECT_CALL(chown(file.c_str(), kBob, kBob));
  EXPECT_EQ(ModeOf(file), 0777u) << "chown, root's too";
  prepare();
  EXPECT_EQ(RunAs(kAlice,
                  [&] {
                    int fd = open(file.c_str(), O_WRONLY);
                    return fd >= 0 && write(fd, "x", 1) == 1 ? 0 : errno;
                  }),
            0);
  EXPECT_EQ(ModeOf(file), 0777u) << "write";
  prepare();
  EXPECT_EQ(RunAs(kAlice, [&] { return ERRNO_OF(truncate(file.c_str(), 1)); }), 0);
  EXPECT_EQ(ModeOf(file), 0777u) << "truncate";
  prepare();
  Append(file, "by root");
  EXPECT_EQ(ModeOf(file), 06777u) << "root's writes leave them";
}

TEST_F(AttributesTest, ChmodByAStrangerToTheGroupDropsSetGroupId) {
  NEEDS_ROOT();
  std::string file = MakeFile("f");
  EXPECT_CALL(chown(file.c_str(), kAlice, kBob));
  EXPECT_EQ(RunAs(kAlice, [&] { return ERRNO_OF(chmod(file.c_str(), 02755)); }), 0);
  EXPECT_EQ(ModeOf(file), 0755u);
}

TEST_F(AttributesTest, AccessAnswersForTheCaller) {
  NEEDS_ROOT();
  std::string file = MakeFile("f", {}, 0640);
  EXPECT_CALL(access(file.c_str(), R_OK | W_OK));
  EXPECT_ERRNO(EACCES, access(file.c_str(), X_OK));
  EXPECT_EQ(ErrnoName(RunAs(kBob, [&] { return ERRNO_OF(access(file.c_str(), R_OK)); })), "EACCES");
  EXPECT_EQ(RunAs(kBob, [&] { return ERRNO_OF(access(file.c_str(), F_OK)); }), 0);
}

TEST_F(AttributesTest, MovingADirectoryNeedsWriteOnIt) {
  NEEDS_ROOT();
  std::string one = MakePublicDir("one"), two = MakePublicDir("two");
  MakeDir("one/d", 0755);
  EXPECT_EQ(
      ErrnoName(RunAs(
          kBob, [&] { return ERRNO_OF(rename((one + "/d").c_str(), (two + "/d").c_str())); })),
      "EACCES");
  EXPECT_EQ(
      RunAs(kBob, [&] { return ERRNO_OF(rename((one + "/d").c_str(), (one + "/e").c_str())); }), 0);
}

}  // namespace
}  // namespace prism::posix
