#include "cow/file.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace prism::cow {
namespace {

tl::unexpected<Err> Failed(const std::string& path, const char* what, int error_number) {
  spdlog::error("{} {}: {}", what, path, std::strerror(error_number));
  return Fail(error_number == ENOSPC || error_number == EDQUOT ? Err::kNoSpace : Err::kIo);
}

// What is left when `done` bytes from part `first` on have been dealt with; the part it begins
// with.
size_t Advance(std::vector<iovec>& parts, size_t first, size_t done) {
  while (first < parts.size() && done >= parts[first].iov_len) done -= parts[first++].iov_len;
  if (done > 0) {
    parts[first].iov_base = static_cast<char*>(parts[first].iov_base) + done;
    parts[first].iov_len -= done;
  }
  return first;
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
  return WriteAt(offset, {&bytes, 1});
}

Status File::WriteAt(uint64_t offset, std::span<const std::string_view> parts) {
  std::vector<iovec> left;
  for (std::string_view part : parts)
    if (!part.empty()) left.push_back({const_cast<char*>(part.data()), part.size()});
  for (size_t first = 0; first < left.size();) {
    ssize_t length = ::pwritev(descriptor_, &left[first], static_cast<int>(left.size() - first),
                               static_cast<off_t>(offset));
    if (length < 0 && errno == EINTR) continue;
    if (length <= 0) return Failed(path_, "write", length < 0 ? errno : EIO);
    offset += static_cast<uint64_t>(length);
    first = Advance(left, first, static_cast<size_t>(length));
  }
  return {};
}

Status File::ReadAt(uint64_t offset, std::span<std::byte> out) { return ReadAt(offset, {&out, 1}); }

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
    first = Advance(left, first, static_cast<size_t>(length));
  }
  return {};
}

Status File::SyncData() {
  if (::fdatasync(descriptor_) != 0) return Failed(path_, "fdatasync", errno);
  return {};
}

void File::StartWriteBack(uint64_t offset, uint64_t size_bytes) {
  (void)::sync_file_range(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size_bytes),
                          SYNC_FILE_RANGE_WRITE);
}

void File::DropCached(uint64_t offset, uint64_t size_bytes) {
  (void)::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(size_bytes),
                        POSIX_FADV_DONTNEED);
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
