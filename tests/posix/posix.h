// The fixture of the POSIX suite: a fresh directory per test in the file system under test, and
// short words for system calls and their errors.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace prism::posix {

// 0 if the call succeeded (did not return -1), its errno otherwise.
#define ERRNO_OF(call) (errno = 0, static_cast<long>(call) == -1 ? errno : 0)
#define EXPECT_ERRNO(expected, call) \
  EXPECT_EQ(::prism::posix::ErrnoName(expected), ::prism::posix::ErrnoName(ERRNO_OF(call))) << #call
#define EXPECT_CALL(call) EXPECT_ERRNO(0, call)

std::string ErrnoName(int error_number);  // "ENOENT"

// A file descriptor that closes itself.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { Close(); }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::string Pattern(size_t size, uint32_t seed = 0);  // bytes without zeros

class Posix : public ::testing::Test {
 protected:
  Posix();
  ~Posix() override;

  std::string Path(std::string_view name = {}) const {
    return name.empty() ? dir_ : dir_ + "/" + std::string(name);
  }
  // These must succeed.
  std::string MakeFile(std::string_view name, std::string_view data = {}, mode_t mode = 0644);
  std::string MakeDir(std::string_view name, mode_t mode = 0755);
  void Append(const std::string& path, std::string_view data);
  std::string Contents(const std::string& path);
  struct stat Stat(const std::string& path);  // lstat
  bool Exists(const std::string& path);
  std::vector<std::string> List(const std::string& path);  // sorted, without "." and ".."

  // Runs `body` in a child process as this user; its result, or the errno it returns (below 256).
  static int RunAs(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
                   const std::function<int()>& body);
  static int RunAs(uid_t uid, const std::function<int()>& body) {
    return RunAs(uid, uid, {}, body);
  }
  // In a child as the same user.
  static int InChild(const std::function<int()>& body);

 private:
  std::string dir_;
};

#define NEEDS_ROOT()  \
  if (geteuid() != 0) \
  GTEST_SKIP() << "needs root, to be somebody else, make devices or give files away"

}  // namespace prism::posix
