#include "tests/mount/lock_support.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdlib>

#include "fs/base/check.h"

namespace prism::mount {

int Fcntl(int fd, int command, short type, off_t start, off_t length) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return fcntl(fd, command, &lock) == 0 ? 0 : errno;
}

struct flock Getlk(int fd, off_t start, off_t length, short type) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  EXPECT_EQ(fcntl(fd, F_GETLK, &lock), 0) << errno;
  return lock;
}

int Flock(int fd, int operation) { return flock(fd, operation) == 0 ? 0 : errno; }

Process::Process(const std::function<int()>& action) {
  int result[2], end[2];
  PRISM_CHECK(pipe2(result, O_CLOEXEC) == 0);
  PRISM_CHECK(pipe2(end, O_CLOEXEC) == 0);
  pid_ = fork();
  PRISM_CHECK(pid_ >= 0);
  if (pid_ == 0) {
    close(result[0]);
    close(end[1]);
    const int code = action();
    char byte = 0;
    if (write(result[1], &code, sizeof code) == sizeof code) (void)!read(end[0], &byte, 1);
    _exit(0);
  }
  close(result[1]);
  close(end[0]);
  result_fd_ = result[0];
  end_fd_ = end[1];
}

Process::~Process() {
  Kill();
  close(result_fd_);
  if (end_fd_ >= 0) close(end_fd_);
}

bool Process::done(int timeout_ms) {
  pollfd poll_fd{.fd = result_fd_, .events = POLLIN, .revents = 0};
  return has_result_ || poll(&poll_fd, 1, timeout_ms) > 0;
}

int Process::Result() {
  if (has_result_) return result_;
  if (!done(5000) || read(result_fd_, &result_, sizeof result_) != sizeof result_) return -1;
  has_result_ = true;
  return result_;
}

void Process::Signal(int number) {
  PRISM_CHECK(pid_ > 0);  // kill(-1) would end every process there is
  kill(pid_, number);
}

void Process::End() {
  close(end_fd_);
  end_fd_ = -1;
  if (pid_ <= 0) return;
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void Process::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

void LockTest::SetUp() {
  MountTest::SetUp();
  if (IsSkipped()) return;
  AddMount();
  WriteFile(Path("f"), "0123456789");
  here_ = Open(0);
  there_ = Open(1);
}

void LockTest::TearDown() {
  if (here_ >= 0) close(here_);
  if (there_ >= 0) close(there_);
  MountTest::TearDown();
}

int LockTest::Open(size_t mount, const std::string& name, int flags) {
  int fd = open(Path(name, mount).c_str(), flags | O_CLOEXEC, 0644);
  EXPECT_GE(fd, 0) << name << ": " << errno;
  return fd;
}

}  // namespace prism::mount
