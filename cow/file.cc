#include "cow/file.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace prism::cow {
namespace {

tl::unexpected<Err> Failed(const std::string& path, const char* what, int error_number) {
  spdlog::error("{} {}: {}", what, path, std::strerror(error_number));
  return Fail(error_number == ENOSPC || error_number == EDQUOT ? Err::kNoSpace : Err::kIo);
}

}  // namespace

File::~File() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<File> File::Open(const std::string& path, int flags) {
  File file;
  file.descriptor_ = ::open(path.c_str(), flags | O_CLOEXEC, 0600);
  if (file.descriptor_ < 0) return Failed(path, "open", errno);
  file.path_ = path;
  return file;
}

Status File::WriteAt(uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(descriptor_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Failed(path_, "write", written < 0 ? errno : EIO);
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Status File::ReadAt(uint64_t offset, std::span<std::byte> out) {
  const std::span<std::byte> parts[] = {out};
  return ReadAt(offset, parts);
}

Status File::ReadAt(uint64_t offset, std::span<const std::span<std::byte>> parts) {
  std::vector<iovec> left;
  for (std::span<std::byte> part : parts)
    if (!part.empty()) left.push_back({part.data(), part.size()});
  for (size_t first = 0; first < left.size();) {
    ssize_t length = ::preadv(descriptor_, &left[first], static_cast<int>(left.size() - first),
                              static_cast<off_t>(offset));
    if (length < 0 && errno == EINTR) continue;
    if (length < 0) return Failed(path_, "read", errno);
    if (length == 0) return Fail(Err::kCorrupt);
    offset += static_cast<uint64_t>(length);
    for (auto got = static_cast<size_t>(length); got > 0;) {
      const size_t taken = std::min(got, left[first].iov_len);
      left[first].iov_base = static_cast<std::byte*>(left[first].iov_base) + taken;
      left[first].iov_len -= taken;
      got -= taken;
      if (left[first].iov_len == 0) ++first;
    }
  }
  return {};
}

Status File::SyncData() {
  if (::fdatasync(descriptor_) != 0) return Failed(path_, "fdatasync", errno);
  return {};
}

Result<uint64_t> File::Size() const {
  struct stat status;
  if (::fstat(descriptor_, &status) != 0) return Failed(path_, "fstat", errno);
  return static_cast<uint64_t>(status.st_size);
}

Status SyncDirectory(const std::string& path) {
  PRISM_ASSIGN(File directory, File::Open(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(directory.descriptor()) != 0) return Failed(path, "fsync", errno);
  return {};
}

}  // namespace prism::cow
