#include "fs/mount/worker.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fs/base/check.h"
#include "fs/contract/limits.h"

namespace prism::mount {
namespace {

constexpr size_t kPage = 4096;
// libfuse asks the kernel for requests of up to 256 pages of data and one of headers.
constexpr size_t kRequestBytes = fs::kIoMax + kPage;
constexpr size_t kMappedBytes = kRequestBytes + fs::kIoMax;

constexpr uint32_t kWantedFlags = FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT;

thread_local Worker* current_worker = nullptr;
thread_local int reply_fd = -1;

template <typename T>
const T* BodyOf(std::span<const std::byte> request) {
  if (request.size() < sizeof(fuse_in_header) + sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(request.data() + sizeof(fuse_in_header));
}

}  // namespace

Worker::Worker(int session_fd, std::atomic<uint32_t>& agreed)
    : fd_(session_fd), owns_fd_(false), agreed_(agreed) {
  int clone = open("/dev/fuse", O_RDWR | O_CLOEXEC);
  uint32_t source = static_cast<uint32_t>(session_fd);
  if (clone >= 0 && ioctl(clone, FUSE_DEV_IOC_CLONE, &source) == 0) {
    fd_ = clone;
    owns_fd_ = true;
  } else if (clone >= 0) {
    close(clone);
  }
  void* memory =
      mmap(nullptr, kMappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  PRISM_CHECK(memory != MAP_FAILED);
  memory_ = static_cast<std::byte*>(memory);
}

Worker::~Worker() {
  munmap(memory_, kMappedBytes);
  if (owns_fd_) close(fd_);
}

Worker* Worker::Current() { return current_worker; }

void Worker::Enter() {
  current_worker = this;
  reply_fd = fd_;
}

int Worker::ReplyDescriptor() { return reply_fd; }

void Worker::SetReplyDescriptor(int fd) { reply_fd = fd; }

std::span<std::byte> Worker::io_buffer() const { return {memory_ + kRequestBytes, fs::kIoMax}; }

Result<std::span<std::byte>> Worker::Receive() {
  ssize_t n = read(fd_, memory_, kRequestBytes);
  if (n < 0) {
    // ENOENT: the request was interrupted before it was read.
    if (errno == EINTR || errno == EAGAIN || errno == ENOENT) return std::span<std::byte>{};
    if (errno != ENODEV) spdlog::error("reading from /dev/fuse: {}", std::strerror(errno));
    return Fail(Err::kDisconnected);
  }
  if (static_cast<size_t>(n) < sizeof(fuse_in_header)) return Fail(Err::kDisconnected);
  turns_.fetch_add(1, std::memory_order_acq_rel);
  std::span<std::byte> request(memory_, static_cast<size_t>(n));
  Inspect(request);
  return request;
}

void Worker::Inspect(std::span<std::byte>& request) {
  facts_ = RequestFacts{};
  auto* header = reinterpret_cast<fuse_in_header*>(request.data());
  facts_.opcode = header->opcode;
  switch (header->opcode) {
    case FUSE_INIT:
      if (auto* in = BodyOf<fuse_init_in>(request)) agreed_ = in->flags & kWantedFlags;
      break;
    case FUSE_WRITE:
      if (auto* in = BodyOf<fuse_write_in>(request))
        facts_.kill_privileges = (in->write_flags & FUSE_WRITE_KILL_SUIDGID) != 0;
      break;
    case FUSE_SETATTR:
      if (auto* in = BodyOf<fuse_setattr_in>(request))
        facts_.kill_privileges = (in->valid & FATTR_KILL_SUIDGID) != 0;
      break;
    case FUSE_SETXATTR:
      if (auto* in = BodyOf<fuse_setxattr_in>(request); in && (agreed_ & FUSE_SETXATTR_EXT)) {
        facts_.kill_setgid = (in->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID) != 0;
        // libfuse expects the name where the extension is: move the headers up over it.
        constexpr size_t kExtension = sizeof(fuse_setxattr_in) - FUSE_COMPAT_SETXATTR_IN_SIZE;
        header->len -= kExtension;
        std::memmove(request.data() + kExtension, request.data(),
                     sizeof(fuse_in_header) + FUSE_COMPAT_SETXATTR_IN_SIZE);
        request = request.subspan(kExtension);
      }
      break;
    default:
      break;
  }
}

ssize_t Worker::WriteReply(int fd, struct iovec* iov, int count) {
  Worker* worker = current_worker;
  if (reply_fd >= 0) fd = reply_fd;
  bool is_init = worker != nullptr && worker->facts_.opcode == FUSE_INIT && count == 2 &&
                 iov[1].iov_len == sizeof(fuse_init_out);
  if (!is_init) return writev(fd, iov, count);
  fuse_init_out out;
  std::memcpy(&out, iov[1].iov_base, sizeof out);
  out.flags |= worker->agreed_;
  struct iovec patched[2] = {iov[0], {&out, sizeof out}};
  return writev(fd, patched, 2);
}

}  // namespace prism::mount
