#include "server/fd_message.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "fs/base/check.h"

namespace prism::server {

bool SendFds(int socket_fd, std::string_view bytes, std::span<const int> fds) {
  PRISM_CHECK(!bytes.empty() && fds.size() <= kMessageFdsMax);
  iovec vector{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(kMessageFdsMax * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size_bytes());
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket_fd, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent >= 0;
}

Outcome<FdMessage> ReceiveFds(int socket_fd, size_t bytes_max, int flags) {
  FdMessage result;
  result.bytes.resize(bytes_max);
  iovec vector{.iov_base = result.bytes.data(), .iov_len = bytes_max};
  alignas(cmsghdr) char control[CMSG_SPACE(kMessageFdsMax * sizeof(int))];
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do {
    got = ::recvmsg(socket_fd, &message, flags | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) return Explain(Err::kAgain, "nothing came in time");
  if (got < 0 && errno == ECONNRESET) return Explain(Err::kDisconnected, "the peer has gone");
  if (got < 0) return ExplainErrno(errno, "cannot receive");
  // All of them are owned before anything is judged, so that none is lost.
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= part->cmsg_len; at += sizeof(int)) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
      result.fds.emplace_back(fd);
    }
  }
  if (got == 0) return Explain(Err::kDisconnected, "the peer has gone");
  if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
    return Explain(Err::kProtocol, "a message is larger than it may be");
  result.bytes.resize(static_cast<size_t>(got));
  return result;
}

}  // namespace prism::server
