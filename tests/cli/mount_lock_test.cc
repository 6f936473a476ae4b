// Locks of two `prism mount` processes on a real server. Needs root.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

TEST(MountLockTest, AMountThatIsKilledGivesUpItsLocksAtOnce) {
  if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
    GTEST_SKIP() << "needs root and /dev/fuse";
  TemporaryDirectory directory;
  const std::string one = directory / "one", two = directory / "two";
  ASSERT_EQ(Shell("mkdir " + one + " " + two).exit_code, 0);
  {
    LiveServer server(directory.path());
    ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
    ASSERT_EQ(server.Prism("mount a " + one).exit_code, kExitDone);
    const int pid = server.Json("lanes")["result"][0]["pid"].get<int>();
    ASSERT_GT(pid, 1);
    ASSERT_EQ(server.Prism("mount a " + two).exit_code, kExitDone);
    // The lock is held by a shell that waits for the end of its input.
    FILE* holder = popen(("flock " + one + "/f cat > /dev/null").c_str(), "w");
    ASSERT_NE(holder, nullptr);
    EXPECT_EQ(
        Shell("for i in $(seq 100); do flock -n " + two + "/f true || exit 7; sleep 0.05; done")
            .exit_code,
        7);
    EXPECT_EQ(Shell("flock -n " + two + "/f true").exit_code, 1);
    ASSERT_EQ(kill(pid, SIGKILL), 0);
    EXPECT_EQ(Shell("flock -w 5 " + two + "/f true").exit_code, 0);
    pclose(holder);
    EXPECT_EQ(server.Prism("umount " + two).exit_code, kExitDone);
    Shell("umount -l " + one);
  }
}

}  // namespace
}  // namespace prism::tool
