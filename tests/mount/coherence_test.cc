// Two mounts of one volume: what one changes, the other sees, although both cache for a day.
#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <set>
#include <thread>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

class CoherenceTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (!IsSkipped()) AddMount();
  }
  std::string A(const std::string& name) { return Path(name, 0); }
  std::string B(const std::string& name) { return Path(name, 1); }
  static std::set<std::string> List(const std::string& path) {
    std::set<std::string> names;
    DIR* dir = opendir(path.c_str());
    while (dirent* entry = readdir(dir)) names.insert(entry->d_name);
    closedir(dir);
    names.erase(".");
    names.erase("..");
    return names;
  }
  static struct stat Stat(const std::string& path) {
    struct stat st = {};
    lstat(path.c_str(), &st);
    return st;
  }
};

TEST_F(CoherenceTest, NamesAppearAndDisappear) {
  EXPECT_EQ(ReadFile(B("f")), "<errno 2>");  // the absence is cached
  WriteFile(A("f"), "one");
  EXPECT_TRUE(Eventually([&] { return ReadFile(B("f")) == "one"; }));
  EXPECT_EQ(List(B("")), (std::set<std::string>{"f"}));
  ASSERT_EQ(rename(A("f").c_str(), A("g").c_str()), 0);
  EXPECT_TRUE(Eventually([&] { return ReadFile(B("f")) == "<errno 2>"; }));
  EXPECT_TRUE(Eventually([&] { return ReadFile(B("g")) == "one"; }));
  EXPECT_TRUE(Eventually([&] { return List(B("")) == std::set<std::string>{"g"}; }));
  ASSERT_EQ(unlink(B("g").c_str()), 0);
  EXPECT_TRUE(Eventually([&] { return List(A("")).empty(); }));
  EXPECT_TRUE(Eventually([&] { return ReadFile(A("g")) == "<errno 2>"; }));
}

TEST_F(CoherenceTest, DataAttributesAndXattrsFollow) {
  WriteFile(A("f"), "one");
  EXPECT_EQ(ReadFile(B("f")), "one");
  int open_file = open(B("f").c_str(), O_RDONLY);
  ASSERT_GE(open_file, 0);
  WriteFile(A("f"), "other, longer");
  EXPECT_TRUE(Eventually([&] { return ReadFile(B("f")) == "other, longer"; }));
  char bytes[5];
  ASSERT_EQ(pread(open_file, bytes, 5, 0), 5);
  EXPECT_EQ(std::string(bytes, 5), "other");
  close(open_file);
  ASSERT_EQ(chmod(A("f").c_str(), 0601), 0);
  EXPECT_TRUE(Eventually([&] { return (Stat(B("f")).st_mode & 07777) == 0601; }));
  ASSERT_EQ(setxattr(A("f").c_str(), "user.x", "y", 1, 0), 0);
  EXPECT_EQ(getxattr(B("f").c_str(), "user.x", nullptr, 0), 1);
  // ACLs are cached by the kernel.
  ASSERT_EQ(Shell("getfacl -p " + B("f") + " >/dev/null"), 0);
  ASSERT_EQ(Shell("setfacl -m u:1000:rw " + A("f")), 0);
  EXPECT_TRUE(Eventually([&] {
    return RunAs(1000, 1000, [&] { return open(B("f").c_str(), O_RDWR) >= 0 ? 0 : 1; }) == 0;
  }));
}

TEST_F(CoherenceTest, AForeignChangeRightAfterAnOwnOneIsSeen) {
  ASSERT_EQ(mkdir(A("d").c_str(), 0755), 0);
  for (mode_t i = 1; i <= 20; ++i) {
    const std::string file = "d/" + std::to_string(i);
    WriteFile(A(file), "x");
    ASSERT_EQ(chmod(B("d").c_str(), 0700 + i), 0);
    EXPECT_TRUE(Eventually([&] { return Stat(A("d")).st_mode == (S_IFDIR | (0700 + i)); })) << i;
    WriteFile(A(file + "b"), "x");
    uint32_t capability[5] = {0x02000000, 1u << 10, 0, 0, 0};  // cap_net_bind_service, revision 2
    ASSERT_EQ(setxattr(B(file + "b").c_str(), "security.capability", capability, 20, 0), 0);
    EXPECT_TRUE(Eventually([&] {
      return getxattr(A(file + "b").c_str(), "security.capability", capability, 20) == 20;
    })) << i;
  }
}

TEST_F(CoherenceTest, MapsFollow) {
  WriteFile(A("f"), std::string(8192, 'a'));
  int fd = open(B("f").c_str(), O_RDONLY);
  volatile char* map =
      static_cast<volatile char*>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd, 0));
  ASSERT_NE(map, MAP_FAILED);
  EXPECT_EQ(map[4097], 'a');
  int writer = open(A("f").c_str(), O_WRONLY);
  ASSERT_EQ(pwrite(writer, "b", 1, 4097), 1);
  EXPECT_TRUE(Eventually([&] { return map[4097] == 'b'; }));
  close(writer);
  munmap(const_cast<char*>(map), 8192);
  close(fd);
}

TEST_F(CoherenceTest, AFileUnlinkedElsewhereStaysReadableHere) {
  WriteFile(A("f"), "alive");
  EXPECT_EQ(ReadFile(B("f")), "alive");
  InodeId ino = Stat(B("f")).st_ino;
  int fd = open(B("f").c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(unlink(A("f").c_str()), 0);
  EXPECT_TRUE(Eventually([&] { return ReadFile(B("f")) == "<errno 2>"; }));
  EXPECT_TRUE(Eventually([&] { return file_system(0).released().count(ino) == 1; }));
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  char bytes[16] = {};
  EXPECT_EQ(pread(fd, bytes, sizeof bytes, 0), 5);
  EXPECT_STREQ(bytes, "alive");
  EXPECT_EQ(pwrite(fd, "!", 1, 5), 1);
  EXPECT_EQ(file_system(1).released().count(ino), 0u);
  close(fd);
  EXPECT_TRUE(Eventually([&] { return file_system(1).released().count(ino) == 1; }));
  EXPECT_EQ(file_system(0).Calls("ReleaseFailed") + file_system(1).Calls("ReleaseFailed"), 0u);
}

TEST_F(CoherenceTest, AnOrphanThatTheOtherKernelNeverSawIsReleased) {
  WriteFile(A("f"), "x");
  InodeId ino = Stat(A("f")).st_ino;
  ASSERT_EQ(unlink(A("f").c_str()), 0);
  EXPECT_TRUE(Eventually([&] { return file_system(1).released().count(ino) == 1; }));
}

// Also shows that nothing but events makes the other tests here pass: without them the caches hold.
TEST_F(CoherenceTest, AfterLostEventsEverythingIsAskedAfresh) {
  ASSERT_EQ(mkdir(A("d").c_str(), 0777), 0);
  WriteFile(A("d/changed"), "old");
  WriteFile(A("d/removed"), "old");
  auto view = [&] {
    return ReadFile(B("d/changed")) + "," + ReadFile(B("d/removed")) + "," + ReadFile(B("d/made"));
  };
  EXPECT_TRUE(Eventually([&] { return view() == "old,old,<errno 2>"; }));
  usleep(20000);
  EXPECT_EQ(view(), "old,old,<errno 2>");
  EXPECT_EQ(List(B("d")).size(), 2u);
  file_system(1).Mute();
  WriteFile(A("d/changed"), "new");
  ASSERT_EQ(unlink(A("d/removed").c_str()), 0);
  WriteFile(A("d/made"), "new");
  usleep(20000);
  EXPECT_EQ(view(), "old,old,<errno 2>");
  file_system(1).Inject({.kind = fs::Event::Kind::kAll, .ino = 0, .name = ""});
  EXPECT_TRUE(Eventually([&] { return view() == "new,<errno 2>,new"; })) << view();
  EXPECT_EQ(List(B("d")), (std::set<std::string>{"changed", "made"}));
}

// More changes than the queue of events takes, while both look: in the end both agree.
TEST_F(CoherenceTest, AStormOfChangesEndsInAgreement) {
  ASSERT_EQ(mkdir(A("d").c_str(), 0777), 0);
  constexpr int kNames = 200;
  auto storm = [&](const std::string& root, unsigned seed) {
    for (int i = 0; i < 4000; ++i) {
      seed = seed * 1103515245 + 12345;
      std::string name = root + "/" + std::to_string((seed >> 8) % kNames);
      switch ((seed >> 20) % 5) {
        case 0: {
          int fd = open(name.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0644);
          if (fd >= 0 && write(fd, "x", 1) != 1) ADD_FAILURE() << strerror(errno);
          if (fd >= 0) close(fd);
          break;
        }
        case 1:
          unlink(name.c_str());
          break;
        case 2:
          rename(name.c_str(), (root + "/" + std::to_string((seed >> 4) % kNames)).c_str());
          break;
        case 3:
          chmod(name.c_str(), 0600 + (seed >> 12) % 64);
          break;
        default:
          ReadFile(name);
      }
    }
  };
  std::thread other([&] { storm(B("d"), 7); });
  storm(A("d"), 3);
  other.join();
  auto view = [&](const std::string& root) {
    std::map<std::string, std::string> result;
    for (const std::string& name : List(root)) {
      struct stat st = Stat(root + "/" + name);
      result[name] = std::to_string(st.st_ino) + " " + std::to_string(st.st_mode) + " " +
                     std::to_string(st.st_size) + " " + ReadFile(root + "/" + name);
    }
    for (int i = 0; i < kNames; ++i) {
      std::string name = std::to_string(i);
      if (result.count(name) == 0 && Stat(root + "/" + name).st_ino != 0)
        result[name] = "only stat";
    }
    return result;
  };
  EXPECT_TRUE(Eventually([&] { return view(A("d")) == view(B("d")); }));
  EXPECT_EQ(file_system(0).Calls("ReleaseFailed") + file_system(1).Calls("ReleaseFailed"), 0u);
}

}  // namespace
}  // namespace prism::mount
