// clone --barrier and mount --snapshots: what a mount must do for them. Needs root and /dev/fuse.
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <csignal>

#include "tests/cli/live_server.h"
#include "tools/prism/command.h"

namespace prism::tool {
namespace {

bool Has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

class BarrierCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs root and /dev/fuse";
    ASSERT_EQ(
        Shell("mkdir -p " + tree_ + " " + at_ + " && head -c 8192 /dev/zero > " + tree_ + "/f")
            .exit_code,
        0);
  }
  void TearDown() override {
    if (writer_ > 0) Shell("kill -9 " + std::to_string(writer_));
    Shell("umount -l " + at_ + " 2>/dev/null");
  }
  void Mount(const LiveServer& server, const std::string& options) {
    ShellResult mounted =
        server.Prism("mount a " + at_ + " --log " + directory_ / "mount.log " + options);
    ASSERT_EQ(mounted.exit_code, kExitDone) << mounted.output;
  }
  // A program that stores into a shared mapping and then only waits; nothing tells the file system.
  void StartWriter() {
    const std::string program =
        "import mmap,os,time,sys\n"
        "f=os.open(sys.argv[1],os.O_RDWR)\n"
        "m=mmap.mmap(f,8192)\n"
        "m[100:105]=b'dirty'\n"
        "open(sys.argv[2],'w').close()\n"
        "time.sleep(600)\n";
    const ShellResult started = Shell("python3 -c \"" + program + "\" " + at_ + "/f " +
                                      directory_ / "ready" + " > /dev/null 2>&1 & echo $!");
    writer_ = std::stoi(started.output);
    for (int i = 0; i < 100 && access((directory_ / "ready").c_str(), F_OK) != 0; ++i)
      Shell("sleep 0.05");
    ASSERT_EQ(access((directory_ / "ready").c_str(), F_OK), 0);
  }
  bool IsDirtyIn(const LiveServer& server, const std::string& volume) {
    const std::string copy = directory_ / volume;
    EXPECT_EQ(server.Prism("export -q " + volume + " dir:" + copy).exit_code, kExitDone);
    return Shell("grep -c dirty " + copy + "/f").output == "1\n";
  }

  TemporaryDirectory directory_;
  const std::string tree_ = directory_ / "tree";
  const std::string at_ = directory_ / "mount";
  pid_t writer_ = -1;
};

TEST_F(BarrierCommandTest, WhatAMappingHoldsIsInTheClone) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  for (const std::string& options : {std::string(), std::string("--local-locks")}) {
    Mount(server, options);
    StartWriter();
    const std::string with = "with" + std::to_string(options.size());
    const std::string without = "without" + std::to_string(options.size());
    ASSERT_EQ(server.Prism("clone a " + without).exit_code, kExitDone);
    const auto answer = server.Json("clone a " + with + " --barrier");
    ASSERT_EQ(answer["ok"], true) << answer;
    EXPECT_EQ(answer["result"][0]["consistency"], "barrier") << answer;
    EXPECT_TRUE(IsDirtyIn(server, with));
    EXPECT_FALSE(IsDirtyIn(server, without)) << "the test tests nothing";
    EXPECT_EQ(server.Json("show " + with)["result"]["consistency"], "barrier");
    EXPECT_EQ(server.Json("show " + without)["result"]["consistency"], "crash-consistent");
    Shell("kill -9 " + std::to_string(writer_) + "; rm " + directory_ / "ready");
    writer_ = -1;
    EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
    Shell("rm -rf " + directory_ / "f0");
    ASSERT_EQ(server.Prism("destroy a").exit_code, kExitDone);
    ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  }
}

TEST_F(BarrierCommandTest, ItSaysWhenItIsNone) {
  LiveServer server(directory_.path());
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  auto answer = server.Json("clone a b --barrier");
  EXPECT_EQ(answer["result"][0]["consistency"], "crash-consistent");
  EXPECT_TRUE(Has(answer["result"][0]["reason"], "no lane")) << answer;
  EXPECT_TRUE(Has(server.Prism("clone a b2 --barrier").output, "crash-consistent"));

  // A mount that never answers costs the time, and no more.
  Mount(server, "");
  const pid_t mount = server.Json("lanes")["result"][0]["pid"].get<pid_t>();
  ASSERT_EQ(kill(mount, SIGSTOP), 0);
  const auto start = std::chrono::steady_clock::now();
  answer = server.Json("clone a c --barrier --barrier-timeout 300");
  const auto took = std::chrono::steady_clock::now() - start;
  kill(mount, SIGCONT);
  EXPECT_GE(took, std::chrono::milliseconds(300));
  EXPECT_LT(took, std::chrono::seconds(20));
  EXPECT_EQ(answer["result"][0]["consistency"], "crash-consistent");
  EXPECT_TRUE(Has(answer["result"][0]["reason"], "300 ms")) << answer;
  answer = server.Json("clone a d --barrier --identity");
  EXPECT_EQ(answer["result"][0]["consistency"], "barrier") << answer;
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

TEST_F(BarrierCommandTest, SnapshotsAreADirectoryForThoseWhoAsk) {
  LiveServer server(directory_.path());
  ASSERT_EQ(
      Shell("mkdir " + tree_ + "/d && echo old > " + tree_ + "/d/g && ln -s g " + tree_ + "/d/l")
          .exit_code,
      0);
  ASSERT_EQ(server.Prism("import -q dir:" + tree_ + " a").exit_code, kExitDone);
  ASSERT_EQ(server.Prism("snapshot a@one").exit_code, kExitDone);
  Mount(server, "--snapshots");
  const std::string shot = at_ + "/.snapshot";
  EXPECT_EQ(Shell("ls -A " + at_).output, "d\nf\n") << "it is listed";
  EXPECT_EQ(Shell("ls " + shot).output, "one\n");
  Shell("echo new > " + at_ + "/d/g");
  EXPECT_EQ(Shell("cat " + shot + "/one/d/g " + shot + "/one/d/l " + at_ + "/d/g").output,
            "old\nold\nnew\n");
  EXPECT_EQ(Shell("cd " + shot +
                  "/one/d && cat ../f | wc -c; cd ../.. && pwd -P && cat "
                  "../d/g")
                .output,
            "8192\n" + Shell("cd " + at_ + " && pwd -P").output.substr(0, at_.size()) +
                "/.snapshot\nnew\n");
  // Nothing there can be changed, nor brought out but by copying.
  for (const std::string& change :
       {"touch " + shot + "/x", "mkdir " + shot + "/one/x", "rm " + shot + "/one/d/g",
        "rmdir " + shot, "ln " + shot + "/one/d/g " + at_ + "/x",
        "sh -c 'echo x > " + shot + "/one/d/g'", "mv -T " + at_ + "/d " + shot + "/x"})
    EXPECT_NE(Shell(change + " 2>/dev/null").exit_code, 0) << change;
  EXPECT_EQ(Shell("cp -a " + shot + "/one/d " + at_ + "/e && cat " + at_ + "/e/g").output, "old\n");
  // No two files of the mount have one number.
  EXPECT_EQ(Shell("find " + at_ + " " + shot +
                  " -mindepth 1 -type f -printf '%i\\n' | sort | "
                  "uniq -d")
                .output,
            "");
  // It follows what happens to them.
  EXPECT_NE(Shell("ls " + shot + "/two 2>&1").exit_code, 0);
  ASSERT_EQ(server.Prism("snapshot a@two").exit_code, kExitDone);
  for (int i = 0; i < 50 && Shell("ls " + shot).output != "one\ntwo\n"; ++i) Shell("sleep 0.1");
  EXPECT_EQ(Shell("ls " + shot).output, "one\ntwo\n");
  EXPECT_EQ(Shell("cat " + shot + "/two/d/g").output, "new\n");
  ASSERT_EQ(server.Prism("destroy a@one").exit_code, kExitDone);
  for (int i = 0; i < 50 && Shell("ls " + shot).output != "two\n"; ++i) Shell("sleep 0.1");
  EXPECT_EQ(Shell("ls " + shot).output, "two\n");
  EXPECT_NE(Shell("cat " + shot + "/one/d/g 2>&1").exit_code, 0);
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);

  Mount(server, "");
  EXPECT_NE(Shell("ls " + shot + " 2>&1").exit_code, 0) << "it was not asked for";
  EXPECT_EQ(server.Prism("umount " + at_).exit_code, kExitDone);
}

}  // namespace
}  // namespace prism::tool
