// The process that serves a mount: how it comes, goes, is killed, and loses its server.
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <thread>

#include "fs/mount/mount.h"
#include "fs/mount/mount_point.h"
#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

class LifeCycleTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs root and /dev/fuse";
    char name[] = "/tmp/prism-life-test.XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    base_ = name;
    directory_ = base_ + "/mount";
    log_ = base_ + "/log";
    ASSERT_EQ(mkdir(directory_.c_str(), 0755), 0);
  }
  void TearDown() override {
    if (base_.empty()) return;
    umount2(directory_.c_str(), MNT_DETACH);
    unlink(log_.c_str());
    EXPECT_EQ(rmdir(directory_.c_str()), 0);
    EXPECT_EQ(rmdir(base_.c_str()), 0);
  }
  // Starts a background mount of the model; the exit status of the command.
  int Start(const std::string& more = "", std::string* output = nullptr) {
    return Shell(
        std::string(MOUNT_MODEL) + " --background --log " + log_ + " " + directory_ + " " + more,
        output);
  }
  pid_t ServerPid() {
    auto mount = FindMount(directory_);
    if (!mount || !*mount) return -1;
    auto process = ServingProcess::Find((*mount)->device);
    return process ? process->pid() : -1;
  }
  bool IsMounted() {
    auto mount = FindMount(directory_);
    return mount && *mount;
  }
  std::string base_, directory_, log_;
};

TEST_F(LifeCycleTest, IsLiveWhenTheCommandReturnsAndGoneWhenUnmountDoes) {
  ASSERT_EQ(Start(), 0);
  WriteFile(directory_ + "/f", "x");
  EXPECT_EQ(ReadFile(directory_ + "/f"), "x");
  auto process = ServingProcess::Find((*FindMount(directory_))->device);
  ASSERT_TRUE(process);
  auto unmounted = Unmount(directory_, 5000);
  ASSERT_TRUE(unmounted) << unmounted.error().message;
  EXPECT_FALSE(IsMounted());
  EXPECT_TRUE(process->WaitGone(0));
  EXPECT_NE(ReadFile(log_).find("is mounted on"), std::string::npos);
}

TEST_F(LifeCycleTest, FailureIsToldToWhoStartedIt) {
  std::string output;
  EXPECT_EQ(Shell(std::string(MOUNT_MODEL) + " --background " + base_ + "/missing", &output), 1);
  EXPECT_NE(output.find("No such file or directory"), std::string::npos) << output;
  WriteFile(base_ + "/file", "");
  EXPECT_EQ(Shell(std::string(MOUNT_MODEL) + " --background --log " + log_ + " " + base_ + "/file",
                  &output),
            1);
  EXPECT_NE(output.find("is not a directory"), std::string::npos) << output;
  unlink((base_ + "/file").c_str());
  EXPECT_EQ(Start("--threads 1000", &output), 1);
  EXPECT_NE(output.find("threads must be"), std::string::npos) << output;
  EXPECT_FALSE(IsMounted());
}

TEST_F(LifeCycleTest, UnmountRefusesWhileFilesAreOpen) {
  ASSERT_EQ(Start(), 0);
  int fd = open((directory_ + "/f").c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  auto unmounted = Unmount(directory_, 5000);
  ASSERT_FALSE(unmounted);
  EXPECT_EQ(unmounted.error().code, Err::kBusy);
  EXPECT_EQ(write(fd, "x", 1), 1);
  close(fd);
  unmounted = Unmount(directory_, 5000);
  EXPECT_TRUE(unmounted) << unmounted.error().message;
}

TEST_F(LifeCycleTest, SigtermUnmounts) {
  ASSERT_EQ(Start(), 0);
  auto mount = FindMount(directory_);
  ASSERT_TRUE(mount && *mount);
  auto process = ServingProcess::Find((*mount)->device);
  ASSERT_TRUE(process);
  ASSERT_GT(process->pid(), 1);  // kill(0) and kill(-1) reach others
  kill(process->pid(), SIGTERM);
  EXPECT_TRUE(process->WaitGone(5000));
  EXPECT_FALSE(IsMounted());
}

TEST_F(LifeCycleTest, SigtermServesOpenFilesToTheirEnd) {
  ASSERT_EQ(Start(), 0);
  auto process = ServingProcess::Find((*FindMount(directory_))->device);
  ASSERT_TRUE(process);
  int fd = open((directory_ + "/f").c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_GT(process->pid(), 1);  // kill(0) and kill(-1) reach others
  kill(process->pid(), SIGTERM);
  EXPECT_TRUE(Eventually([&] { return !IsMounted(); }));
  EXPECT_EQ(write(fd, "x", 1), 1);
  EXPECT_FALSE(process->WaitGone(50));
  close(fd);
  EXPECT_TRUE(process->WaitGone(5000));
}

TEST_F(LifeCycleTest, AKilledProcessLeavesAMountThatUnmountTakesAway) {
  ASSERT_EQ(Start(), 0);
  auto process = ServingProcess::Find((*FindMount(directory_))->device);
  ASSERT_TRUE(process);
  int fd = open((directory_ + "/f").c_str(), O_CREAT | O_RDWR, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_GT(process->pid(), 1);  // kill(0) and kill(-1) reach others
  kill(process->pid(), SIGKILL);
  EXPECT_TRUE(process->WaitGone(5000));
  EXPECT_EQ(write(fd, "x", 1), -1);  // no hang
  EXPECT_TRUE(errno == ENOTCONN || errno == ECONNABORTED) << errno;
  EXPECT_TRUE(IsMounted());
  auto unmounted = Unmount(directory_, 5000);
  EXPECT_TRUE(unmounted) << unmounted.error().message;
  EXPECT_FALSE(IsMounted());
  close(fd);
}

TEST_F(LifeCycleTest, TheServersDeathEndsItWithAClearError) {
  ASSERT_EQ(Start("--die-after 300"), 0);
  auto process = ServingProcess::Find((*FindMount(directory_))->device);
  ASSERT_TRUE(process);
  int fd = open((directory_ + "/f").c_str(), O_CREAT | O_RDWR, 0600);  // busy all the same
  ASSERT_GE(fd, 0);
  EXPECT_TRUE(process->WaitGone(5000));
  EXPECT_FALSE(IsMounted());
  EXPECT_EQ(write(fd, "x", 1), -1);
  close(fd);
  EXPECT_NE(ReadFile(log_).find("lost the server (the test ended it)"), std::string::npos)
      << ReadFile(log_);
}

TEST_F(LifeCycleTest, InTheForegroundTheStatusTells) {
  std::string output;
  EXPECT_EQ(
      Shell(std::string(MOUNT_MODEL) + " --foreground --die-after 200 " + directory_, &output), 1);
  EXPECT_NE(output.find("lost the server"), std::string::npos);
  EXPECT_FALSE(IsMounted());
  std::thread unmounter([&] {
    EXPECT_TRUE(Eventually([&] { return ServerPid() > 0; }));
    EXPECT_TRUE(Unmount(directory_, 5000).has_value());
  });
  EXPECT_EQ(Shell(std::string(MOUNT_MODEL) + " --foreground " + directory_), 0);
  unmounter.join();
}

TEST_F(LifeCycleTest, AMountThatCoversItIsLeftAlone) {
  ASSERT_EQ(Start("--die-after 400"), 0);
  auto process = ServingProcess::Find((*FindMount(directory_))->device);
  ASSERT_TRUE(process);
  ASSERT_EQ(::mount("cover", directory_.c_str(), "tmpfs", 0, nullptr), 0);
  auto unmounted = Unmount(directory_, 1000);
  ASSERT_FALSE(unmounted);
  EXPECT_NE(unmounted.error().message.find("not a Prism mount"), std::string::npos);
  EXPECT_TRUE(process->WaitGone(10000));
  EXPECT_EQ((*FindMount(directory_))->type, "tmpfs");
  ASSERT_EQ(umount(directory_.c_str()), 0);
  auto dead = Unmount(directory_, 1000);
  EXPECT_TRUE(dead) << dead.error().message;
}

}  // namespace
}  // namespace prism::mount
