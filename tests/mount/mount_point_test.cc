#include "fs/mount/mount_point.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "fs/mount/mount.h"

namespace prism::mount {
namespace {

TEST(MountInfo, ParsesALine) {
  auto mount = ParseMountInfo(
      "42 27 0:39 / /tmp/a\\040b\\134c rw,relatime shared:7 master:2 - fuse.prism prism:base rw");
  ASSERT_TRUE(mount);
  EXPECT_EQ(mount->device, "0:39");
  EXPECT_EQ(mount->path, "/tmp/a b\\c");
  EXPECT_EQ(mount->type, "fuse.prism");
  EXPECT_EQ(mount->source, "prism:base");
}

TEST(MountInfo, RefusesWhatIsNoLine) {
  for (const char* line : {"", "-", "- a b c", "42 27 0:39 / /x rw", "42 27 0:39 / /x rw -",
                           "42 27 0:39 / /x rw - type", "a - b c d e f g h"})
    EXPECT_FALSE(ParseMountInfo(line)) << line;
}

TEST(MountInfo, FindsTheRootAndNothingElsewhere) {
  auto root = FindMount("/");
  ASSERT_TRUE(root && *root);
  auto nothing = FindMount("/no such mount");
  ASSERT_TRUE(nothing);
  EXPECT_FALSE(*nothing);
}

TEST(ServingProcess, IsFoundWhileItLivesAndMissedAfterwards) {
  const std::string device = "test:" + std::to_string(getpid());
  EXPECT_FALSE(ServingProcess::Find(device));
  int ready[2], leave[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(leave), 0);
  pid_t child = fork();
  if (child == 0) {
    close(leave[1]);
    auto presence = Presence::Announce(device);
    char byte = presence ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1 || read(leave[0], &byte, 1) != 0) std::_Exit(1);
    std::_Exit(0);
  }
  char byte = 'n';
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  auto process = ServingProcess::Find(device);
  ASSERT_TRUE(process);
  EXPECT_EQ(process->pid(), child);
  EXPECT_FALSE(process->WaitGone(20));
  EXPECT_FALSE(Presence::Announce(device).has_value());  // taken
  close(leave[1]);
  EXPECT_TRUE(process->WaitGone(5000));
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_FALSE(ServingProcess::Find(device));
  for (int fd : {ready[0], ready[1], leave[0]}) close(fd);
}

TEST(Unmount, SaysWhatIsWrong) {
  auto missing = Unmount("/no/such/directory", 100);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Err::kNoEntry);
  auto plain = Unmount("/usr", 100);
  ASSERT_FALSE(plain);
  EXPECT_EQ(plain.error().code, Err::kInvalid);
  EXPECT_NE(plain.error().message.find("nothing is mounted"), std::string::npos);
  auto foreign = Unmount("/proc", 100);
  ASSERT_FALSE(foreign);
  EXPECT_NE(foreign.error().message.find("not a Prism mount"), std::string::npos);
}

}  // namespace
}  // namespace prism::mount
