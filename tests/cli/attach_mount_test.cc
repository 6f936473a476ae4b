// A process of this host, or a container, at the port of a machine: `prism mount --socket`.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

class AttachMountTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs root and /dev/fuse";
    ASSERT_EQ(Shell("mkdir " + at_).exit_code, 0);
  }
  void TearDown() override { Shell("umount -l " + at_ + " 2>/dev/null"); }

  ShellResult Mount(const std::string& volume) const {
    // No control socket is needed, nor one that exists.
    return Shell(std::string("timeout -s KILL 30 ") + PRISM_PATH + " --control /nowhere mount " +
                 "--wait-for-server 1 --socket " + socket_ + " " + volume + " " + at_ + " --log " +
                 directory_ / "mount.log");
  }

  TemporaryDirectory directory_;
  const std::string at_ = directory_ / "mount";
  const std::string socket_ = directory_ / "vms/box/lane.sock";
};

TEST_F(AttachMountTest, OnlyWhatIsAttachedIsMounted) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("create secret").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("attach box --volume a").exit_code, kExitDone);
  ShellResult refused = Mount("secret");
  EXPECT_EQ(refused.exit_code, kExitNotFound) << refused.output;
  ShellResult mounted = Mount("a");
  ASSERT_EQ(mounted.exit_code, kExitDone) << mounted.output;
  EXPECT_EQ(Shell("echo hello > " + at_ + "/f && cat " + at_ + "/f").output, "hello\n");

  const nlohmann::json lanes = server.Json("lanes")["result"];
  ASSERT_EQ(lanes.size(), 1u);
  EXPECT_EQ(lanes[0]["vm"], "box");
  EXPECT_EQ(lanes[0]["volume"], "a");
  EXPECT_EQ(lanes[0]["process"], "prism");
  EXPECT_EQ(lanes[0]["queues"], 4);
  EXPECT_GT(lanes[0]["calls"], 0);
  EXPECT_EQ(lanes[0]["written_bytes"], 6);
  const std::string table = server.Prism("lanes").output;
  EXPECT_NE(table.find("box"), std::string::npos) << table;

  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
  // Whatever it is called by now, and whoever has its name.
  ASSERT_EQ(server.Prism("rename a z").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("rename secret a").exit_code, kExitDone);
  mounted = Mount("a");
  ASSERT_EQ(mounted.exit_code, kExitDone) << mounted.output;
  EXPECT_EQ(Shell("cat " + at_ + "/f").output, "hello\n");
  EXPECT_EQ(server.Prism("detach box").exit_code, kExitDone);
  EXPECT_NE(Shell("timeout -s KILL 20 cat " + at_ + "/f").exit_code, 0) << "it is still reached";
}

}  // namespace
}  // namespace prism::tool
