#include "server/unix_listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace prism::server {
namespace {

constexpr int kBacklog = 64;

bool SomebodyAnswers(const sockaddr_un& address, int type) {
  const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
  if (fd < 0) return true;  // cannot tell: do not take it away
  const bool answers =
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  close(fd);
  return answers;
}

Outcome<void> MakeRoom(const std::string& path, const sockaddr_un& address, int type) {
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    const std::string directory = path.substr(0, slash);
    if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
      return ExplainErrno(errno, "cannot make the directory " + directory);
  }
  struct stat st = {};
  if (lstat(path.c_str(), &st) != 0) return {};
  if (!S_ISSOCK(st.st_mode))
    return Explain(Err::kExists, "{} is there and is not a socket: name another path", path);
  if (SomebodyAnswers(address, type))
    return Explain(Err::kBusy, "another server answers at {}: stop it, or name another path", path);
  if (unlink(path.c_str()) != 0) return ExplainErrno(errno, "cannot replace " + path);
  return {};
}

}  // namespace

Outcome<void> UnixListener::Listen(const std::string& path, int type) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Explain(Err::kNameTooLong, "a socket's path has 1 to {} bytes, not {}: {}",
                   sizeof address.sun_path - 1, path.size(), path);
  std::memcpy(address.sun_path, path.data(), path.size());
  PRISM_TRY(MakeRoom(path, address, type));

  fd_ = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd_ < 0) return ExplainErrno(errno, "cannot make a socket");
  if (bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return ExplainErrno(errno, "cannot bind " + path);
  path_ = path;
  struct stat st = {};
  // The mode is set before anybody can connect: that needs listen.
  if (chmod(path.c_str(), 0600) != 0 || lstat(path.c_str(), &st) != 0 || listen(fd_, kBacklog) != 0)
    return ExplainErrno(errno, "cannot listen at " + path);
  device_ = st.st_dev;
  inode_ = st.st_ino;
  return {};
}

bool UnixListener::IsInPlace() const {
  struct stat st = {};
  return !path_.empty() && lstat(path_.c_str(), &st) == 0 && st.st_dev == device_ &&
         st.st_ino == inode_;
}

void UnixListener::Close() {
  if (fd_ < 0) return;
  if (IsInPlace()) unlink(path_.c_str());
  close(fd_);
  fd_ = -1;
}

bool PeerIsAllowed(int fd) {
  ucred peer{};
  socklen_t length = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return false;
  return peer.uid == 0 || peer.uid == geteuid();
}

}  // namespace prism::server
