#include "vrpc/doorbell.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

namespace prism::vrpc {
namespace {

// Submissions under way at once: each is over before io_submit returns.
constexpr unsigned kSubmissionsMax = 128;

}  // namespace

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

bool IsRung(int fd) {
  pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&poll_fd, 1, 0) > 0;
}

void RingUnlessRung(int fd) {
  if (!IsRung(fd)) Ring(fd);
}

Outcome<std::unique_ptr<Signaller>> Signaller::Make() {
  UniqueFd sink(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!sink) return ExplainErrno(errno, "cannot open /dev/null");
  aio_context_t context = 0;
  if (::syscall(SYS_io_setup, kSubmissionsMax, &context) != 0)
    return ExplainErrno(errno, "cannot set up asynchronous writes (io_setup)");
  return std::unique_ptr<Signaller>(new Signaller(context, std::move(sink)));
}

Signaller::~Signaller() { ::syscall(SYS_io_destroy, context_); }

void Signaller::Ring(int fd) {
  iocb block{};
  block.aio_lio_opcode = IOCB_CMD_PWRITE;
  block.aio_fildes = static_cast<uint32_t>(sink_.get());
  block.aio_flags = IOCB_FLAG_RESFD;
  block.aio_resfd = static_cast<uint32_t>(fd);
  iocb* blocks[] = {&block};
  // Other threads' completions may fill the context for a moment: they are taken away below.
  for (;;) {
    long submitted = ::syscall(SYS_io_submit, context_, 1, blocks);
    bool full = submitted != 1 && errno == EAGAIN;
    io_event events[kSubmissionsMax];
    timespec none{};
    ::syscall(SYS_io_getevents, context_, 0, kSubmissionsMax, events, &none);
    if (!full) return;
  }
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
