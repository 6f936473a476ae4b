#include "vrpc/sockets.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace prism::vrpc {
namespace {

Outcome<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Explain(Err::kNameTooLong, "the socket path '{}' must have 1 to {} bytes", path,
                   sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* Generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

// Is somebody accepting connections at this address?
bool IsAlive(const sockaddr_un& address) {
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return true;
  if (::connect(probe.get(), Generic(address), sizeof address) == 0) return true;
  return errno == EAGAIN;  // its backlog is full
}

}  // namespace

int RemainingMs(Deadline deadline) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

std::string LanePathFor(std::string_view control_path) {
  return std::string(control_path) + ".lane";
}

Outcome<UniqueFd> ListenAt(const std::string& path, uid_t uid) {
  PRISM_ASSIGN(sockaddr_un address, AddressOf(path));
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode))
      return Explain(Err::kExists, "'{}' exists and is not a socket", path);
    if (IsAlive(address)) return Explain(Err::kBusy, "another server listens at '{}'", path);
    ::unlink(path.c_str());
  }
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return ExplainErrno(errno, "cannot make a socket");
  // On Linux the file takes the mode that the socket has when it is bound.
  if (::fchmod(listener.get(), 0600) != 0)
    return ExplainErrno(errno, "cannot set the socket's mode");
  if (::bind(listener.get(), Generic(address), sizeof address) != 0)
    return ExplainErrno(errno, fmt::format("cannot make the socket '{}'", path));
  if (uid != ::geteuid() && ::lchown(path.c_str(), uid, static_cast<gid_t>(-1)) != 0) {
    int error = errno;
    ::unlink(path.c_str());
    return ExplainErrno(error, fmt::format("cannot give the socket '{}' to user {}", path, uid));
  }
  if (::listen(listener.get(), SOMAXCONN) != 0)
    return ExplainErrno(errno, fmt::format("cannot listen at '{}'", path));
  return listener;
}

Outcome<UniqueFd> ConnectTo(const std::string& path, Deadline deadline) {
  PRISM_ASSIGN(sockaddr_un address, AddressOf(path));
  UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection) return ExplainErrno(errno, "cannot make a socket");
  int wait_ms = std::max(RemainingMs(deadline), 1);
  timeval wait{.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  while (::connect(connection.get(), Generic(address), sizeof address) != 0) {
    if (errno == EINTR && RemainingMs(deadline) > 0) continue;
    if (errno == ENOENT || errno == ECONNREFUSED)
      return Explain(Err::kDisconnected, "no server listens at '{}'", path);
    if (errno == EAGAIN || errno == EINTR)
      return Explain(Err::kTimedOut, "the server at '{}' does not take connections", path);
    return ExplainErrno(errno, fmt::format("cannot connect to '{}'", path));
  }
  return connection;
}

Outcome<Peer> PeerOf(int socket_fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
    return ExplainErrno(errno, "cannot tell who connects");
  return Peer{credentials.pid, credentials.uid};
}

}  // namespace prism::vrpc
