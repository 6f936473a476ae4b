#include "vrpc/ivshmem.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "vrpc/sockets.h"

namespace prism::vrpc {
namespace {

// Takes the descriptors out of a message; false: there are more than one message may bring.
bool TakeFd(msghdr& header, UniqueFd& fd) {
  bool valid = (header.msg_flags & MSG_CTRUNC) == 0;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int number;
      std::memcpy(&number, CMSG_DATA(part) + i * sizeof number, sizeof number);
      UniqueFd owned(number);
      if (fd) valid = false;
      if (!fd) fd = std::move(owned);
    }
  }
  return valid;
}

}  // namespace

Sent SendMessage(int socket_fd, int64_t value, int fd) {
  iovec vector{.iov_base = &value, .iov_len = sizeof value};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
  msghdr header{};
  header.msg_iov = &vector;
  header.msg_iovlen = 1;
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(part), &fd, sizeof fd);
  }
  ssize_t sent;
  do sent = ::sendmsg(socket_fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  if (sent == sizeof value) return Sent::kAll;
  return sent < 0 && errno == EAGAIN ? Sent::kNothing : Sent::kGone;
}

Outcome<IvshmemMessage> ReceiveMessage(int socket_fd, Deadline deadline) {
  IvshmemMessage message;
  size_t have = 0;
  while (have < sizeof message.value) {
    pollfd poll_fd{.fd = socket_fd, .events = POLLIN, .revents = 0};
    int ready = ::poll(&poll_fd, 1, RemainingMs(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Explain(Err::kTimedOut, "the server did not answer in time");
    // No byte more: descriptors come with the first byte of their message.
    iovec vector{.iov_base = reinterpret_cast<char*>(&message.value) + have,
                 .iov_len = sizeof message.value - have};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    msghdr header{};
    header.msg_iov = &vector;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    ssize_t got = ::recvmsg(socket_fd, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return Explain(Err::kDisconnected, "the server closed the connection");
    if (!TakeFd(header, message.fd))
      return Explain(Err::kProtocol, "the server sent several descriptors at once");
    have += static_cast<size_t>(got);
  }
  return message;
}

}  // namespace prism::vrpc
