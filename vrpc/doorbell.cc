#include "vrpc/doorbell.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstdint>

namespace prism::vrpc {

Outcome<UniqueFd> MakeDoorbell() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC));
  if (!fd) return ExplainErrno(errno, "cannot make an eventfd");
  return fd;
}

void Ring(int fd) {
  uint64_t one = 1;
  while (::write(fd, &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void RingUnlessRung(int fd) {
  pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
  if (::poll(&poll_fd, 1, 0) == 0) Ring(fd);
}

void TryClear(int fd) {
  uint64_t count;
  iovec vector{.iov_base = &count, .iov_len = sizeof count};
  [[maybe_unused]] ssize_t got = ::preadv2(fd, &vector, 1, -1, RWF_NOWAIT);
}

void AwaitRing(int fd) {
  uint64_t count;
  if (::read(fd, &count, sizeof count) < 0 && errno == EAGAIN) {
    pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
    ::poll(&poll_fd, 1, -1);
  }
}

}  // namespace prism::vrpc
