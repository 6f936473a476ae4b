// Programs in a mount while its server is killed and started again, many times: they notice nothing
// but the wait. No operation is lost, none is done twice, whatever they have not synced.
//
// PRISM_CRASH_SEED and PRISM_CRASH_ROUNDS make other and longer runs.
#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/cli/live_server.h"
#include "tests/crash/content.h"
#include "tests/crash/worker.h"

namespace prism::crash {
namespace {

using tool::LiveServer;
using tool::Shell;

// One program: works until told to stop; what went wrong is in `problem`.
class Program {
 public:
  // `step` does one piece of work, numbered from 0; "" if all went well.
  explicit Program(std::function<std::string(uint64_t)> step) : step_(std::move(step)) {
    thread_ = std::thread([this] {
      while (!stop_ && problem_.empty()) problem_ = step_(steps_++);
    });
  }
  ~Program() { Stop(); }
  void Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }
  const std::string& problem() const { return problem_; }
  uint64_t steps() const { return steps_; }

 private:
  const std::function<std::string(uint64_t)> step_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> steps_{0};
  std::string problem_;
  std::thread thread_;
};

std::string Failed(std::string_view what, const std::string& path) {
  return fmt::format("{} {}: {}", what, path, std::strerror(errno));
}

// Each call fails if its like has been done before, or not at all.
std::string WorkOnNames(const std::string& directory, uint64_t step) {
  const std::string a = fmt::format("{}/a{}", directory, step);
  const std::string b = fmt::format("{}/b{}", directory, step);
  const std::string d = fmt::format("{}/d{}", directory, step);
  const int fd = ::open(a.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  if (fd < 0) return Failed("create", a);
  ::close(fd);
  if (::link(a.c_str(), b.c_str()) != 0) return Failed("link", b);
  if (::setxattr(a.c_str(), "user.once", "1", 1, XATTR_CREATE) != 0) return Failed("setxattr", a);
  if (::removexattr(a.c_str(), "user.once") != 0) return Failed("removexattr", a);
  if (::unlink(a.c_str()) != 0) return Failed("unlink", a);
  if (::mkdir(d.c_str(), 0755) != 0) return Failed("mkdir", d);
  const std::string inside = d + "/x";
  if (::renameat2(AT_FDCWD, b.c_str(), AT_FDCWD, inside.c_str(), RENAME_NOREPLACE) != 0)
    return Failed("rename", inside);
  struct stat status {};
  if (::stat(inside.c_str(), &status) != 0 || status.st_nlink != 1) return Failed("stat", inside);
  if (step % 2 == 0) return {};
  if (::unlink(inside.c_str()) != 0) return Failed("unlink", inside);
  if (::rmdir(d.c_str()) != 0) return Failed("rmdir", d);
  return {};
}

// A file and what must be in it.
class Body {
 public:
  Body(int fd, uint64_t seed) : fd_(fd), rng_(seed) {}
  ~Body() { ::close(fd_); }

  std::string Work(uint64_t step) {
    const uint64_t offset = rng_() % (8 << 20);
    if (rng_() % 16 == 0) {
      if (::ftruncate(fd_, static_cast<off_t>(offset)) != 0) return Failed("truncate", "");
      expected_.Truncate(offset);
      return {};
    }
    if (rng_() % 64 == 0 && ::fsync(fd_) != 0) return Failed("fsync", "");
    const std::string data = Payload(rng_(), 1 + rng_() % 20000);
    if (::pwrite(fd_, data.data(), data.size(), static_cast<off_t>(offset)) !=
        static_cast<ssize_t>(data.size()))
      return Failed("write", "");
    expected_.Write(offset, data);
    return step % 50 == 49 ? Check() : std::string();
  }
  std::string Check() const {
    struct stat status {};
    if (::fstat(fd_, &status) != 0) return Failed("stat", "");
    if (static_cast<uint64_t>(status.st_size) != expected_.size())
      return fmt::format("size {}, expected {}", status.st_size, expected_.size());
    std::string found(expected_.size(), '\0');
    if (::pread(fd_, found.data(), found.size(), 0) != status.st_size) return Failed("read", "");
    const std::string wanted = expected_.Read(0, expected_.size());
    const auto [at, other] = std::mismatch(found.begin(), found.end(), wanted.begin());
    if (at == found.end()) return {};
    const auto end = std::mismatch(found.rbegin(), found.rend(), wanted.rbegin()).first;
    return fmt::format("of {} bytes those from {} to {} differ: {:#x} instead of {:#x}",
                       found.size(), at - found.begin(), found.rend() - end,
                       static_cast<unsigned char>(*at), static_cast<unsigned char>(*other));
  }

 private:
  const int fd_;
  std::mt19937_64 rng_;
  Content expected_;
};

std::string AppendLine(const std::string& path, uint64_t step) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return Failed("open", path);
  const std::string line = fmt::format("{}\n", step);
  const bool good = ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  ::close(fd);
  return good ? "" : Failed("append", path);
}

// A new file, locked by this process; -1: it cannot be.
int OpenLocked(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  struct flock lock {};
  lock.l_type = F_WRLCK;
  if (fd < 0 || ::fcntl(fd, F_SETLK, &lock) == 0) return fd;
  ::close(fd);
  return -1;
}

// In a process of its own, because fcntl's locks are a process's. 0: it was granted.
int TryLockElsewhere(const std::string& path) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    ::_exit(fd >= 0 && ::fcntl(fd, F_SETLK, &lock) == 0 ? 0 : errno);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

void WaitForStop(int stop_fd) {
  char byte;
  while (::read(stop_fd, &byte, 1) < 0 && errno == EINTR) continue;
}

// What went wrong; "": nothing.
std::string EndOf(Program& program) {
  program.Stop();
  if (!program.problem().empty()) return program.problem();
  return program.steps() < 10 ? "a program hardly ran" : "";
}

// Programs that change names and append lines, until stop_fd is closed. What went wrong; "":
// nothing.
std::string RunOnNames(const std::string& at, int stop_fd) {
  const std::string names = at + "/names", lines = at + "/lines";
  if (::mkdir(names.c_str(), 0755) != 0) return Failed("mkdir", names);
  Program on_names([&](uint64_t step) { return WorkOnNames(names, step); });
  Program on_lines([&](uint64_t step) { return AppendLine(lines, step); });
  WaitForStop(stop_fd);
  if (std::string problem = EndOf(on_names) + EndOf(on_lines); !problem.empty()) return problem;
  std::string expected;
  for (uint64_t i = 0; i < on_lines.steps(); ++i) expected += fmt::format("{}\n", i);
  return ReadWholeFile(lines) == expected ? "" : "lines are missing or double";
}

// The same with programs that overwrite and truncate two open files, of which one has no name left.
std::string RunOnBodies(const std::string& at, uint64_t seed, int stop_fd) {
  const std::string unlinked_path = at + "/unlinked";
  constexpr int kFlags = O_RDWR | O_CREAT | O_CLOEXEC;
  Body named(::open((at + "/body").c_str(), kFlags, 0644), seed);
  Body unlinked(::open(unlinked_path.c_str(), kFlags, 0644), seed + 1);
  if (::unlink(unlinked_path.c_str()) != 0) return Failed("unlink", unlinked_path);
  Program on_named([&](uint64_t step) { return named.Work(step); });
  Program on_unlinked([&](uint64_t step) { return unlinked.Work(step); });
  WaitForStop(stop_fd);
  if (std::string problem = EndOf(on_named); !problem.empty()) return "named: " + problem;
  if (std::string problem = EndOf(on_unlinked); !problem.empty()) return "unlinked: " + problem;
  Shell("echo 3 > /proc/sys/vm/drop_caches");  // which may have hidden something
  return named.Check() + unlinked.Check();
}

// A process of its own: a child that the server is started from would have to close its files in
// the mount first, and wait for the server.
class Elsewhere {
 public:
  // `work` runs until its argument reads as ended, and returns what went wrong.
  explicit Elsewhere(const std::function<std::string(int)>& work) {
    int stop[2], answer[2];
    EXPECT_TRUE(::pipe2(stop, O_CLOEXEC) == 0 && ::pipe2(answer, O_CLOEXEC) == 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(stop[1]);
      const std::string problem = work(stop[0]);
      const bool told = ::write(answer[1], problem.data(), problem.size()) >= 0;
      ::_exit(told ? 0 : 1);
    }
    ::close(stop[0]);
    ::close(answer[1]);
    stop_fd_ = stop[1];
    answer_fd_ = answer[0];
  }
  std::string End() {
    ::close(stop_fd_);
    std::string problem(4096, '\0');
    const ssize_t length = ::read(answer_fd_, problem.data(), problem.size());
    problem.resize(length > 0 ? static_cast<size_t>(length) : 0);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    ::close(answer_fd_);
    return status == 0 ? problem : fmt::format("it ended with status {}", status);
  }

 private:
  pid_t pid_ = -1;
  int stop_fd_ = -1;
  int answer_fd_ = -1;
};

class ResumeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0 || ::access("/dev/fuse", R_OK | W_OK) != 0)
      GTEST_SKIP() << "needs root and /dev/fuse";
    Start();
    ASSERT_EQ(Shell("mkdir " + at_ + " " + other_).exit_code, 0);
    ASSERT_EQ(server_->Prism("create v").exit_code, 0);
    Mount(at_);
  }
  void TearDown() override {
    if (server_ == nullptr) return;
    for (const std::string& at : {at_, other_}) {
      if (Shell("mountpoint -q " + at).exit_code != 0) continue;
      EXPECT_EQ(server_->Prism("umount " + at).exit_code, 0);
    }
    server_.reset();
    EXPECT_EQ(Shell("pgrep -f " + folder_.path() + "/ | grep -v $$").output, "");
    EXPECT_EQ(Shell("grep " + folder_.path() + "/ /proc/mounts").output, "");
  }

  void Start() {
    server_ = std::make_unique<LiveServer>(folder_.path(), "--checkpoint-interval-ms 300");
  }
  void Mount(const std::string& at) {
    ASSERT_EQ(server_->Prism("mount --log " + folder_.path() + "/mount.log v " + at).exit_code, 0);
  }
  void Restart(int signal) {
    const int code = server_->Stop(signal);
    EXPECT_EQ(code, signal == SIGKILL ? 128 + SIGKILL : 0);
    Start();
  }

  void RestartOften() {
    const uint64_t seed = FromEnvironment("PRISM_CRASH_SEED", 1);
    const uint64_t rounds = FromEnvironment("PRISM_CRASH_ROUNDS", 10);
    std::mt19937_64 rng(seed);
    for (uint64_t round = 0; round < rounds; ++round) {
      std::this_thread::sleep_for(std::chrono::milliseconds(rng() % 700));
      Restart(rng() % 4 == 0 ? SIGTERM : SIGKILL);
    }
  }

  TemporaryFolder folder_;
  const std::string at_ = folder_.path() + "/mount";
  const std::string other_ = folder_.path() + "/other";
  std::unique_ptr<LiveServer> server_;
};

TEST_F(ResumeTest, ProgramsNoticeNothing) {
  Elsewhere programs([&](int stop_fd) { return RunOnNames(at_, stop_fd); });
  RestartOften();
  EXPECT_EQ(programs.End(), "");
}

TEST_F(ResumeTest, FilesKeepWhatNobodySynced) {
  Elsewhere programs([&](int stop_fd) {
    return RunOnBodies(at_, FromEnvironment("PRISM_CRASH_SEED", 1), stop_fd);
  });
  RestartOften();
  EXPECT_EQ(programs.End(), "");
}

TEST_F(ResumeTest, LocksAreStillHeld) {
  Mount(other_);
  const int fd = OpenLocked(at_ + "/locked");
  ASSERT_GE(fd, 0);
  // Whichever mount is back first.
  for (int i = 0; i < 10; ++i) {
    Restart(i % 2 == 0 ? SIGKILL : SIGTERM);
    EXPECT_EQ(TryLockElsewhere(other_ + "/locked"), EAGAIN) << "restart " << i;
  }
  ::close(fd);
  EXPECT_EQ(TryLockElsewhere(other_ + "/locked"), 0);
}

// Who never had one waits until those who had are back; whose client has died meanwhile, for good.
TEST_F(ResumeTest, LocksOfTheDeadAreGivenUp) {
  Mount(other_);
  const int fd = OpenLocked(at_ + "/locked");
  ASSERT_GE(fd, 0);
  const pid_t holder =
      static_cast<pid_t>(std::stol(Shell("pgrep -f 'mount .* v " + at_ + "$' | head -1").output));
  EXPECT_EQ(server_->Stop(SIGKILL), 128 + SIGKILL);
  ASSERT_GT(holder, 1);
  ASSERT_EQ(::kill(holder, SIGKILL), 0);
  Start();
  EXPECT_EQ(TryLockElsewhere(other_ + "/locked"), EAGAIN);
  ::close(fd);
  int tried = EAGAIN;
  for (int i = 0; i < 300 && tried == EAGAIN; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    tried = TryLockElsewhere(other_ + "/locked");
  }
  EXPECT_EQ(tried, 0);
  EXPECT_EQ(::umount2(at_.c_str(), MNT_DETACH), 0);  // nobody serves it
}

TEST_F(ResumeTest, OneMountSeesWhatAnotherDidMeanwhile) {
  Mount(other_);
  ASSERT_EQ(Shell("echo old > " + at_ + "/f && cat " + other_ + "/f").output, "old\n");
  for (int i = 0; i < 5; ++i) {
    Restart(SIGKILL);
    const std::string text = fmt::format("new {}\n", i);
    EXPECT_EQ(Shell(fmt::format("printf '{}' > {}/f", text, at_)).exit_code, 0);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // a notice takes its time
    EXPECT_EQ(Shell("cat " + other_ + "/f").output, text);
  }
}

TEST_F(ResumeTest, AServerThatStaysAwayEndsTheMount) {
  ASSERT_EQ(server_->Prism("umount " + at_).exit_code, 0);
  ASSERT_EQ(server_->Prism("mount --wait-for-server 1 v " + at_).exit_code, 0);
  EXPECT_EQ(server_->Stop(SIGKILL), 128 + SIGKILL);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_NE(Shell("ls " + at_ + "/nothing 2>/dev/null").exit_code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  for (int i = 0; i < 100 && Shell("mountpoint -q " + at_).exit_code == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_NE(Shell("mountpoint -q " + at_).exit_code, 0) << "the mount is still there";
  Start();
}

}  // namespace
}  // namespace prism::crash
