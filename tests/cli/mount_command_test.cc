// `prism mount` and `prism umount` on a real server through /dev/fuse. Needs root.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

class MountCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs root and /dev/fuse";
    ASSERT_EQ(
        Shell("mkdir -p " + tree_ + "/d " + at_ + " && echo hello > " + tree_ + "/d/f").exit_code,
        0);
  }
  void TearDown() override { Shell("umount -l " + at_ + " 2>/dev/null"); }

  TemporaryDirectory directory_;
  const std::string tree_ = directory_ / "tree";
  const std::string at_ = directory_ / "mount";
};

TEST_F(MountCommandTest, MountUseUnmount) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("clone base a").exit_code, kExitDone);
  const std::string log = " --log " + directory_ / "mount.log";
  ShellResult mounted = server.Prism("mount a " + at_ + log);
  ASSERT_EQ(mounted.exit_code, kExitDone) << mounted.output;
  EXPECT_EQ(Shell("cat " + at_ + "/d/f").output, "hello\n");
  EXPECT_EQ(Shell("echo changed > " + at_ + "/d/f && rm -r " + at_ + "/d && echo new > " + at_ +
                  "/n && sync")
                .exit_code,
            0);
  EXPECT_EQ(server.Json("lanes")["result"].size(), 1u);
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
  EXPECT_NE(Shell("mountpoint -q " + at_).exit_code, 0);
  EXPECT_EQ(server.Json("lanes")["result"].size(), 0u);

  ASSERT_EQ(server.Prism("export -q a dir:" + directory_ / "a").exit_code, kExitDone);
  EXPECT_EQ(Shell("cd " + directory_ / "a" + " && find . -type f").output, "./n\n");
  ASSERT_EQ(server.Prism("export -q base dir:" + directory_ / "b").exit_code, kExitDone);
  EXPECT_EQ(Shell("diff -r " + tree_ + " " + directory_ / "b").output, "") << "the base changed";
}

TEST_F(MountCommandTest, ASnapshotIsMountedReadOnlyAndARollbackIsSeenAtOnce) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("snapshot a@before").exit_code, kExitDone);
  const std::string log = " --log " + directory_ / "mount.log";
  ASSERT_EQ(server.Prism("mount a " + at_ + log).exit_code, kExitDone);
  const std::string other = directory_ / "other";
  ASSERT_EQ(Shell("mkdir " + other).exit_code, 0);
  ASSERT_EQ(server.Prism("mount a@before " + other + log).exit_code, kExitDone);
  EXPECT_NE(Shell("grep -q ' " + other + " .*ro,' /proc/mounts && echo ro").output, "");
  EXPECT_TRUE(Shell("touch " + other + "/d/f 2>&1").output.find("Read-only") != std::string::npos);

  const std::string look = "cat " + at_ + "/d/f; ls " + at_ + " " + at_ + "/d; ";
  const std::string before = Shell(look).output;
  Shell("echo changed > " + at_ + "/d/f; echo new > " + at_ + "/d/new; mv " + at_ + "/d " + at_ +
        "/e");
  EXPECT_EQ(Shell("cat " + at_ + "/e/f").output, "changed\n");
  EXPECT_EQ(Shell("cat " + other + "/d/f").output, "hello\n");
  ASSERT_EQ(server.Prism("rollback a@before").exit_code, kExitDone);
  for (int i = 0; i < 50 && Shell(look).output != before; ++i) Shell("sleep 0.1");
  EXPECT_EQ(Shell(look).output, before);
  EXPECT_NE(Shell("cat " + at_ + "/e/f").exit_code, 0);
  EXPECT_EQ(Shell("echo again > " + at_ + "/d/f && sync && cat " + at_ + "/d/f").output, "again\n");
  EXPECT_EQ(server.Prism("umount " + other).exit_code, kExitDone);
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

TEST_F(MountCommandTest, ARebaseIsSeenAtOnceAndOwnFilesStayOpen) {
  LiveServer server(directory_.path());
  const std::string base = directory_ / "base", log = " --log " + directory_ / "mount.log";
  ASSERT_EQ(Shell("mkdir " + base).exit_code, 0);
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("snapshot base@1").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("clone base@1 web").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("mount web " + at_ + log).exit_code, kExitDone);
  ASSERT_EQ(server.Prism("mount base " + base + log).exit_code, kExitDone);
  Shell("echo mine > " + at_ + "/own; cat " + at_ + "/d/f");
  Shell("echo theirs > " + base + "/d/f; echo new > " + base + "/new; chmod 600 " + base + "/d");
  ASSERT_EQ(server.Prism("snapshot base@2").exit_code, kExitDone);
  // A program that has its own file open goes on writing into it.
  const ShellResult result =
      Shell("exec 5>>" + at_ + "/own; " + server.Command("rebase web --onto base@2") +
            " && echo more >&5 && cat " + at_ + "/own");
  EXPECT_NE(result.output.find("mine\nmore\n"), std::string::npos) << result.output;
  const std::string look =
      "cat " + at_ + "/d/f " + at_ + "/new; stat -c %a " + at_ + "/d; ls " + at_;
  for (int i = 0; i < 50 && Shell(look).output.find("theirs") != 0; ++i) Shell("sleep 0.1");
  EXPECT_EQ(Shell(look).output, "theirs\nnew\n600\nd\nnew\nown\n");
  // Both have changed it: nothing is done, and it says so.
  Shell("echo mine > " + at_ + "/d/f; echo again > " + base + "/d/f");
  ASSERT_EQ(server.Prism("snapshot base@3").exit_code, kExitDone);
  const ShellResult conflict = server.Prism("rebase web --onto base@3");
  EXPECT_EQ(conflict.exit_code, kExitFailed);
  EXPECT_NE(conflict.output.find("C /d/f: changed data here, changed data there\n"),
            std::string::npos)
      << conflict.output;
  EXPECT_EQ(Shell("cat " + at_ + "/d/f").output, "mine\n");
  EXPECT_EQ(server.Prism("rebase web --onto base@3 --on-conflict mine").exit_code, kExitDone);
  EXPECT_EQ(Shell("cat " + at_ + "/d/f").output, "mine\n");
  EXPECT_EQ(server.Prism("umount " + base).exit_code, kExitDone);
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

TEST_F(MountCommandTest, AComposedVolumeIsOneFileSystem) {
  LiveServer server(directory_.path());
  Shell("cd " + tree_ + " && ln d/f d/too && ln d/f out && mkdir -p e/deep && echo e > e/deep/e");
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " base").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("compose new --graft base:/d=/x/d --graft base:/e=/e").exit_code,
            kExitDone);
  ASSERT_EQ(server.Prism("mount new " + at_ + " --log " + directory_ / "mount.log").exit_code,
            kExitDone);
  const std::string in = "cd " + at_ + " && ";
  EXPECT_EQ(
      Shell("diff -r " + tree_ + "/d " + at_ + "/x/d && diff -r " + tree_ + "/e " + at_ + "/e")
          .output,
      "");
  EXPECT_EQ(Shell(in + "stat -c %h x/d/f").output, "2\n");
  EXPECT_EQ(Shell(in + "find . -inum $(stat -c %i x/d/f) | sort").output, "./x/d/f\n./x/d/too\n");
  EXPECT_EQ(Shell(in + "find . ! -path ./x/d/too -printf '%i\\n' | sort | uniq -d").output, "");
  EXPECT_EQ(Shell(in + "ln x/d/f e/deep/linked && mv e/deep x/ && mv x/d/too . && "
                       "echo more >> too && cat x/deep/linked && stat -c %h too")
                .output,
            "hello\nmore\n3\n");
  EXPECT_EQ(Shell(in + "rm -r x e too && sync && find . | sort").output, ".\n");
  EXPECT_EQ(Shell("cat " + tree_ + "/d/f").output, "hello\n");
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

TEST_F(MountCommandTest, WhatIsWrongIsSaid) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  EXPECT_EQ(server.Prism("mount absent " + at_).exit_code, kExitNotFound);
  EXPECT_EQ(server.Prism("mount a " + directory_ / "nowhere").exit_code, kExitNotFound);
  EXPECT_NE(server.Prism("umount " + at_).exit_code, kExitDone) << "it was not mounted";
  ASSERT_EQ(server.Prism("mount a " + at_).exit_code, kExitDone);
  ShellResult busy = Shell("cd " + at_ + " && " + server.Command("umount " + at_));
  EXPECT_EQ(busy.exit_code, kExitBusy) << busy.output;
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

TEST_F(MountCommandTest, ALiveMountCanBeClonedAndExported) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("mount a " + at_).exit_code, kExitDone);
  ASSERT_EQ(Shell("echo one > " + at_ + "/f && sync " + at_ + "/f && " +
                  server.Command("clone a b") + " && echo two > " + at_ + "/f")
                .exit_code,
            0);
  ASSERT_EQ(server.Prism("export -q b dir:" + directory_ / "b").exit_code, kExitDone);
  EXPECT_EQ(Shell("cat " + directory_ / "b/f").output, "one\n");
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

TEST_F(MountCommandTest, AFullDiskIsAClearErrorAndLeavesNothing) {
  ASSERT_EQ(Shell("mount -t tmpfs -o size=400m none " + at_).exit_code, 0);
  {
    LiveServer server(at_);
    ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " before").exit_code, kExitDone);
    const ShellResult full =
        Shell("(cd " + directory_.path() + "; head -c 600M /dev/urandom > big; " +
              "tar -cf - big) | " + server.Command("import -q tar:- big"));
    EXPECT_EQ(full.exit_code, kExitFailed);
    EXPECT_NE(full.output.find("No space left"), std::string::npos) << full.output;
    EXPECT_EQ(server.Names(), "before");
    EXPECT_EQ(server.Prism("import -q dir:" + tree_ + " after").exit_code, kExitDone);
  }
  LiveServer again(at_);
  EXPECT_EQ(again.Names(), "after before");
  EXPECT_EQ(again.Prism("export -q before dir:" + directory_ / "copy").exit_code, kExitDone);
  EXPECT_EQ(Shell("diff -r " + tree_ + " " + directory_ / "copy").output, "");
}

TEST_F(MountCommandTest, AServerThatNobodyWaitsForTakesItsMountsAway) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("create a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("mount --wait-for-server 0 a " + at_).exit_code, kExitDone);
  server.Stop(SIGKILL);
  // Nothing hangs: the mount is gone, or every call on it is an error, within seconds.
  const ShellResult result = Shell("sleep 2; timeout 20 ls " + at_ + "/; echo $?; mountpoint -q " +
                                   at_ + " && echo mounted");
  EXPECT_TRUE(result.output.find("124") == std::string::npos) << result.output;
  EXPECT_TRUE(result.output.find("mounted") == std::string::npos) << result.output;
}

}  // namespace
}  // namespace prism::tool
