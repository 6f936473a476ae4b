// Rebases of a volume that is being written to; and of a server that is killed meanwhile.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <random>
#include <thread>

#include "tests/merge/merge_fixture.h"

namespace prism::mergetest {
namespace {

using test::Must;

class LiveMergeTest : public MergeTest {
 protected:
  LiveMergeTest() {
    Must(host_->Create("base", false));
    for (int i = 0; i < 200; ++i) Put("base", fmt::format("/f{}", i), fmt::format("first {}", i));
    Must(host_->Snapshot({"base@0"}, 0));
    Must(host_->Clone("base@0", {"web"}));
    MakeDir("web", "/log");
    for (int i = 0; i < 50; ++i) Write("web", fmt::format("/f{}", i), fmt::format("own {}", i));
    for (int i = 100; i < 150; ++i)
      Replace("base", fmt::format("/f{}", i), fmt::format("new {}", i));
    for (int i = 0; i < 50; ++i) Put("base", fmt::format("/g{}", i), "new");
    Must(host_->Snapshot({"base@1"}, 0));
  }
  // A file with some data.
  void WriteLog(fs::FileSystem& web, InodeId log, int number, bool sync) {
    const std::string name = std::to_string(number),
                      data(1000, static_cast<char>('a' + number % 26));
    fs::CreateArgs create;
    create.parent = log;
    create.name = name;
    fs::WriteArgs write;
    write.ino = Must(web.Create(kAll, create)).attr.ino;
    write.data = std::as_bytes(std::span(data.data(), data.size()));
    if (sync) write.stability = fs::Stability::kFileSync;
    Must(web.Write(kAll, write));
  }
  void CheckLog(int numbers) {
    const Files files = Read("web");
    for (int i = 0; i < numbers; ++i) {
      const std::string path = fmt::format("/log/{}", i);
      ASSERT_TRUE(files.contains(path)) << path << " of " << numbers;
      EXPECT_EQ(files.at(path).content, std::string(1000, static_cast<char>('a' + i % 26))) << path;
    }
  }
  // From one base to the other. `at`: where it is.
  fs::MergeReport Swing(int at) {
    return Rebase("web", fmt::format("base@{}", 1 - at % 2),
                  {.from = fmt::format("base@{}", at % 2)});
  }
  // All but what is written meanwhile.
  std::map<std::string, std::string> Rest() {
    std::map<std::string, std::string> rest;
    for (const auto& [path, file] : Read("web"))
      if (!path.starts_with("/log")) rest[path] = fmt::format("{} {}", file.attr.ino, file.content);
    return rest;
  }
};

TEST_F(LiveMergeTest, WhatWritersWereAnsweredIsThere) {
  const std::map<std::string, std::string> before = Rest();
  auto web = Attach("web");
  const InodeId log = Find("web", "/log");
  std::atomic<int> written{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) {
      WriteLog(*web, log, written, false);
      ++written;
      ::usleep(300);
    }
  });
  for (int i = 0; i < 6; ++i) {
    const int so_far = written;
    EXPECT_TRUE(Swing(i).done);
    while (written < so_far + 20) std::this_thread::yield();
  }
  stop = true;
  writer.join();
  CheckLog(written);
  EXPECT_TRUE(Rest() == before);
  web.reset();
  CheckConsistent("web");
  Reopen();
  CheckLog(written);
}

TEST_F(LiveMergeTest, KilledAtAnyTimeItIsAsBeforeOrAfter) {
  std::vector<std::map<std::string, std::string>> states{Rest()};
  EXPECT_TRUE(Swing(0).done);
  states.push_back(Rest());
  EXPECT_TRUE(Swing(1).done);
  EXPECT_TRUE(Rest() == states[0]);
  std::mt19937_64 random(5);
  int at = 0, written = 0;
  for (int round = 0; round < 10 && !HasFailure(); ++round) {
    SCOPED_TRACE(round);
    host_.reset();
    int pipes[2];
    ASSERT_EQ(::pipe2(pipes, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::alarm(60);
      Open();
      auto web = Attach("web");
      const InodeId log = Find("web", "/log");
      auto tell = [&](char what) {
        if (::write(pipes[1], &what, 1) != 1) ::_exit(1);
      };
      std::thread writer([&] {
        for (int i = written; !HasFailure(); ++i) {
          WriteLog(*web, log, i, true);
          tell('w');
        }
      });
      for (int i = at; !HasFailure(); ++i) {
        if (!Swing(i).done) break;
        tell('r');
      }
      ::_exit(1);
    }
    ::close(pipes[1]);
    char what = 0;
    int rebased = 0;
    const int enough = 1 + static_cast<int>(random() % 60);
    auto note = [&] { what == 'w' ? ++written : ++rebased; };
    for (int i = 0; i < enough && ::read(pipes[0], &what, 1) == 1; ++i) note();
    ::usleep(static_cast<useconds_t>(random() % 20000));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    while (::read(pipes[0], &what, 1) == 1) note();
    ::close(pipes[0]);
    Open();
    at += rebased;
    const auto rest = Rest();
    const bool one_more = rest != states[at % 2];
    if (one_more) ++at;
    EXPECT_TRUE(rest == states[at % 2]) << "it is between the two";
    CheckLog(written);
    CheckConsistent("web");
    const std::string untold = fmt::format("/log/{}", written);  // perhaps without its data
    if (Exists("web", untold)) Remove("web", untold);
    size_t kept = 0;
    for (const fs::VolumeInfo& volume : host_->List()) {
      EXPECT_NE(volume.name[0], '#');
      kept += volume.name.starts_with("web@");
    }
    EXPECT_EQ(kept, static_cast<size_t>(2 + at)) << "one snapshot for each rebase";
  }
}

}  // namespace
}  // namespace prism::mergetest
