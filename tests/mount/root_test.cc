// What the kernel must know by itself when a mount is a machine's root: see fs/mount/root_daemon.h.
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {
namespace {

constexpr double kEntryTimeoutS = 0.05;

class RootMountTest : public MountTest {
 protected:
  void SetUp() override {
    MountTest::SetUp();
    if (IsSkipped()) return;
    for (const char* name : {"etc", "etc/sub", "proc"})
      ASSERT_EQ(mkdir(Path(name).c_str(), 0755), 0);
    DropMount(0);
    root_ = AddMount({.is_root = true, .entry_timeout_s = kEntryTimeoutS});
  }
  std::string Root(const std::string& name) { return Path(name, root_); }
  // Requests for names when these two are asked for, long after they were told.
  unsigned Lookups(const char* present, const char* absent) {
    for (bool again : {false, true}) {
      if (again) std::this_thread::sleep_for(std::chrono::duration<double>(2 * kEntryTimeoutS));
      file_system(root_).Reset();
      EXPECT_EQ(access(Root(present).c_str(), F_OK), 0);
      EXPECT_NE(access(Root(absent).c_str(), F_OK), 0);
    }
    return file_system(root_).Calls("Lookup");
  }

  size_t root_ = 0;
};

TEST_F(RootMountTest, WhatSystemdAsksInTheEndDoesNotExpire) {
  EXPECT_EQ(Lookups("proc", "etc/initrd-release"), 0u);
  // Nor when it has been listed, with attributes.
  for (const auto& entry : std::filesystem::directory_iterator(Root(""))) (void)entry.status();
  EXPECT_EQ(Lookups("proc", "etc/initrd-release"), 0u);
}

TEST_F(RootMountTest, OtherNamesAreAskedForAgain) { EXPECT_EQ(Lookups("etc/sub", "etc/none"), 2u); }

// As ever: a change from elsewhere is told.
TEST_F(RootMountTest, ChangesFromElsewhereAreSeen) {
  EXPECT_EQ(Lookups("etc", "etc/initrd-release"), 0u);
  const size_t other = AddMount();
  WriteFile(Path("etc/initrd-release", other), "here");
  EXPECT_TRUE(Eventually([&] { return ReadFile(Root("etc/initrd-release")) == "here"; }));
}

}  // namespace
}  // namespace prism::mount
