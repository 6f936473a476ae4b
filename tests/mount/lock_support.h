// fcntl and flock as tests say them, and processes that hold locks. Internal to tests/mount.
#pragma once

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>

#include "tests/mount/mount_fixture.h"

namespace prism::mount {

// 0 or errno. command: F_SETLK, F_SETLKW, F_OFD_SETLK ...
int Fcntl(int fd, int command, short type, off_t start = 0, off_t length = 0);
// What F_GETLK says of an exclusive lock there.
struct flock Getlk(int fd, off_t start = 0, off_t length = 0, short type = F_WRLCK);
int Flock(int fd, int operation);  // 0 or errno

// A child process that runs an action, says so, and lives on until it is told to end.
class Process {
 public:
  // `action` must do nothing but system calls.
  explicit Process(const std::function<int()>& action);
  ~Process();  // Kill
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // What the action returned; waits for it, at most five seconds (-1).
  int Result();
  bool done(int timeout_ms = 0);  // the action has returned
  pid_t pid() const { return pid_; }
  void Signal(int number);
  void End();   // lets it exit
  void Kill();  // SIGKILL, and waits

 private:
  pid_t pid_ = -1;
  int result_fd_ = -1;
  int end_fd_ = -1;
  int result_ = -1;
  bool has_result_ = false;
};

class LockTest : public MountTest {
 protected:
  void SetUp() override;
  void TearDown() override;
  int Open(size_t mount, const std::string& name = "f", int flags = O_RDWR);

  int here_ = -1;   // "f" opened by the first mount
  int there_ = -1;  // and by the second
};

}  // namespace prism::mount
