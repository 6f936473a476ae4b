#include "fs/mount/mount_point.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

namespace prism::mount {
namespace {

bool IsOctal(char c) { return c >= '0' && c <= '7'; }

// The table writes space, tab, newline and backslash as \ooo.
std::string Unescape(std::string_view text) {
  std::string result;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) &&
        IsOctal(text[i + 3])) {
      result.push_back(static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                                         (text[i + 3] - '0')));
      i += 3;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

std::vector<std::string_view> Split(std::string_view line) {
  std::vector<std::string_view> fields;
  while (!line.empty()) {
    size_t space = line.find(' ');
    fields.push_back(line.substr(0, space));
    if (space == line.npos) break;
    line.remove_prefix(space + 1);
  }
  return fields;
}

// The address and its length: abstract names begin with NUL and are not terminated.
std::pair<sockaddr_un, socklen_t> AddressOf(const std::string& device) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::string name = "prism-mount/" + device;
  size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), length);
  return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length)};
}

std::optional<std::string> RealPath(const std::string& path) {
  std::unique_ptr<char, decltype(&std::free)> real(realpath(path.c_str(), nullptr), &std::free);
  if (real == nullptr) return std::nullopt;
  return std::string(real.get());
}

}  // namespace

std::optional<MountPoint> ParseMountInfo(std::string_view line) {
  std::vector<std::string_view> fields = Split(line);
  auto dash = std::find(fields.begin(), fields.end(), "-");
  if (dash - fields.begin() < 6 || fields.end() - dash < 3) return std::nullopt;
  return MountPoint{.device = std::string(fields[2]),
                    .path = Unescape(fields[4]),
                    .type = Unescape(dash[1]),
                    .source = Unescape(dash[2])};
}

Outcome<std::vector<MountPoint>> ListMounts() {
  std::ifstream file("/proc/self/mountinfo");
  if (!file) return Explain(Err::kIo, "cannot read /proc/self/mountinfo; is /proc mounted?");
  std::vector<MountPoint> mounts;
  for (std::string line; std::getline(file, line);)
    if (auto mount = ParseMountInfo(line)) mounts.push_back(std::move(*mount));
  return mounts;
}

Outcome<std::optional<MountPoint>> FindMount(const std::string& path) {
  PRISM_ASSIGN(std::vector<MountPoint> mounts, ListMounts());
  for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount)
    if (mount->path == path) return std::optional(std::move(*mount));
  return std::optional<MountPoint>();
}

Outcome<std::string> ResolveDirectory(const std::string& directory) {
  if (auto real = RealPath(directory)) return *real;
  int first_error = errno;
  std::string path = directory;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  size_t slash = path.rfind('/');
  std::string base = slash == path.npos ? path : path.substr(slash + 1);
  std::string parent = slash == path.npos ? "." : path.substr(0, slash + 1);
  bool dead = first_error == ENOTCONN || first_error == ECONNABORTED || first_error == EIO;
  if (dead && !base.empty() && base != "." && base != "..")
    if (auto real = RealPath(parent)) return *real == "/" ? "/" + base : *real + "/" + base;
  return ExplainErrno(first_error, directory);
}

Outcome<Presence> Presence::Announce(const std::string& device) {
  Presence presence(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (presence.fd_ < 0) return ExplainErrno(errno, "socket");
  auto [address, length] = AddressOf(device);
  if (bind(presence.fd_, reinterpret_cast<const sockaddr*>(&address), length) != 0)
    return ExplainErrno(errno, "announcing mount " + device);
  if (listen(presence.fd_, 16) != 0) return ExplainErrno(errno, "listen");
  return presence;
}

Presence::Presence(Presence&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

Presence& Presence::operator=(Presence&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Presence::~Presence() {
  if (fd_ >= 0) close(fd_);
}

std::optional<ServingProcess> ServingProcess::Find(const std::string& device) {
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return std::nullopt;
  auto [address, length] = AddressOf(device);
  ucred peer = {};
  socklen_t peer_length = sizeof peer;
  bool found = connect(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0 &&
               getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_length) == 0 &&
               (peer.uid == 0 || peer.uid == geteuid());
  if (!found) {
    close(fd);
    return std::nullopt;
  }
  // The wrapper in glibc 2.36's <sys/pidfd.h> is not declared for C++.
  int pidfd = peer.pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, peer.pid, 0)) : -1;
  if (pidfd < 0) return ServingProcess(fd, peer.pid);
  close(fd);
  return ServingProcess(pidfd, peer.pid);
}

ServingProcess::ServingProcess(ServingProcess&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), pid_(other.pid_) {}

ServingProcess::~ServingProcess() {
  if (fd_ >= 0) close(fd_);
}

bool ServingProcess::WaitGone(int timeout_ms) const {
  pollfd poll_fd{.fd = fd_, .events = POLLIN, .revents = 0};
  while (true) {
    int n = poll(&poll_fd, 1, timeout_ms);
    if (n < 0 && errno == EINTR) continue;
    return n > 0;
  }
}

}  // namespace prism::mount
