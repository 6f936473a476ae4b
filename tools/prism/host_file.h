// Small helpers around the host's files: descriptors that close themselves, attributes, xattrs.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"

namespace prism::tool {

class UniqueFd {
 public:
  explicit UniqueFd(int fd = -1) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~UniqueFd() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

// Deep trees and many connections need more than the usual 1,024 descriptors.
void RaiseDescriptorLimit();

// Opens without changing the access time where that is allowed.
UniqueFd OpenQuietly(int dir_fd, const char* name, int flags);

// Owner, exact mode and times.
fs::SetAttr SetAttrOf(const struct stat& st);
fs::FileType FileTypeOf(mode_t mode);
mode_t ModeOf(fs::FileType type);

// The kept extended attributes of an open file, or, with `name`, of what has that name in the
// directory `fd`, without following a symlink. File systems without any give none.
Outcome<std::vector<fs::Xattr>> ReadHostXattrs(int fd, const char* name = nullptr);

// Writes or reads all of it; false with errno.
bool WriteFully(int fd, const std::byte* data, size_t size, uint64_t offset);

}  // namespace prism::tool
