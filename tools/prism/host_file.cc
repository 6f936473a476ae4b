#include "tools/prism/host_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/xattr.h>

#include <cerrno>
#include <cstring>

#include "tools/prism/transfer.h"

namespace prism::tool {
namespace {

// One interface to f*xattr and l*xattr: symlinks and special files have no descriptor to ask.
struct XattrReader {
  int fd;
  std::string path;  // empty: ask the descriptor

  ssize_t List(char* buffer, size_t size) const {
    return path.empty() ? flistxattr(fd, buffer, size) : llistxattr(path.c_str(), buffer, size);
  }
  ssize_t Get(const char* name, char* buffer, size_t size) const {
    return path.empty() ? fgetxattr(fd, name, buffer, size)
                        : lgetxattr(path.c_str(), name, buffer, size);
  }
};

}  // namespace

void RaiseDescriptorLimit() {
  struct rlimit limit {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

UniqueFd OpenQuietly(int dir_fd, const char* name, int flags) {
  int fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOATIME);
  if (fd < 0 && errno == EPERM) fd = openat(dir_fd, name, flags | O_CLOEXEC);
  return UniqueFd(fd);
}

fs::SetAttr SetAttrOf(const struct stat& st) {
  fs::SetAttr attr;
  attr.mode = st.st_mode & 07777;
  attr.uid = st.st_uid;
  attr.gid = st.st_gid;
  attr.atime = fs::Timespec{st.st_atim.tv_sec, static_cast<uint32_t>(st.st_atim.tv_nsec)};
  attr.mtime = fs::Timespec{st.st_mtim.tv_sec, static_cast<uint32_t>(st.st_mtim.tv_nsec)};
  return attr;
}

fs::FileType FileTypeOf(mode_t mode) {
  switch (mode & S_IFMT) {
    case S_IFDIR:
      return fs::FileType::kDirectory;
    case S_IFBLK:
      return fs::FileType::kBlockDevice;
    case S_IFCHR:
      return fs::FileType::kCharDevice;
    case S_IFLNK:
      return fs::FileType::kSymlink;
    case S_IFSOCK:
      return fs::FileType::kSocket;
    case S_IFIFO:
      return fs::FileType::kFifo;
    default:
      return fs::FileType::kRegular;
  }
}

mode_t ModeOf(fs::FileType type) {
  switch (type) {
    case fs::FileType::kRegular:
      return S_IFREG;
    case fs::FileType::kDirectory:
      return S_IFDIR;
    case fs::FileType::kBlockDevice:
      return S_IFBLK;
    case fs::FileType::kCharDevice:
      return S_IFCHR;
    case fs::FileType::kSymlink:
      return S_IFLNK;
    case fs::FileType::kSocket:
      return S_IFSOCK;
    case fs::FileType::kFifo:
      return S_IFIFO;
  }
  return S_IFREG;
}

Outcome<std::vector<fs::Xattr>> ReadHostXattrs(int fd, const char* name) {
  XattrReader reader{fd, name ? fmt::format("/proc/self/fd/{}/{}", fd, name) : std::string()};
  thread_local std::vector<char> names(fs::kXattrListMax), value(fs::kXattrValueMax);
  std::vector<fs::Xattr> xattrs;
  const ssize_t length = reader.List(names.data(), names.size());
  if (length < 0 && errno == ENOTSUP) return xattrs;
  if (length < 0) return ExplainErrno(errno, "cannot list extended attributes");
  for (ssize_t at = 0; at < length; at += std::strlen(&names[at]) + 1) {
    const char* xattr_name = &names[at];
    if (!KeepsXattr(xattr_name)) continue;
    const ssize_t size = reader.Get(xattr_name, value.data(), value.size());
    if (size < 0 && errno == ENODATA) continue;  // removed meanwhile
    if (size < 0) return ExplainErrno(errno, fmt::format("cannot read {}", xattr_name));
    xattrs.push_back({xattr_name, std::string(value.data(), size)});
  }
  return xattrs;
}

bool WriteFully(int fd, const std::byte* data, size_t size, uint64_t offset) {
  while (size > 0) {
    const ssize_t written = pwrite(fd, data, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    data += written;
    size -= written;
    offset += written;
  }
  return true;
}

}  // namespace prism::tool
