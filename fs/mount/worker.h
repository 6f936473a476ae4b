// One session thread: its end of the kernel's queue, its buffers, and what is known of the request
// that it is serving.
//
// libfuse 3.14 speaks protocol 7.31 of the kernel's 7.45. Two things that newer kernels say matter
// here, and libfuse drops them; both are read from the raw request before libfuse gets it, and
// agreed upon by setting their bits in the reply to INIT (include/uapi/linux/fuse.h):
//   FUSE_HANDLE_KILLPRIV_V2  a write or truncate by a process without CAP_FSETID asks the server to
//     clear the set-id bits. Without it the kernel asks for security.capability before every write.
//   FUSE_SETXATTR_EXT        setting an access ACL may have to clear the set-group-id bit.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "fs/base/failure.h"

namespace prism::mount {

// What the kernel says about a request beyond what libfuse passes on.
struct RequestFacts {
  uint32_t opcode = 0;
  bool kill_privileges = false;  // WRITE, SETATTR: see SetAttr::kill_privileges
  bool kill_setgid = false;      // SETXATTR of an access ACL by a stranger to the file's group
};

class Worker {
 public:
  // Reads from a clone of session_fd, so that threads do not share a lock in the kernel; if the
  // kernel refuses, from session_fd itself. `agreed` is the session's: INIT's bits that both sides
  // know beyond libfuse; it outlives the worker.
  Worker(int session_fd, std::atomic<uint32_t>& agreed);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The worker of the calling thread; null elsewhere.
  static Worker* Current();
  // Makes this the worker of the calling thread.
  void Enter();

  // Waits for a request; its bytes, valid until the next call. Empty: nothing this time
  // (interrupted or withdrawn), ask again. kDisconnected: unmounted or aborted.
  Result<std::span<std::byte>> Receive();
  // Call when the request has been answered.
  void Done() { turns_.fetch_add(1, std::memory_order_release); }

  const RequestFacts& facts() const { return facts_; }
  // 1 MiB for the data of one reply.
  std::span<std::byte> io_buffer() const;
  // Even: between requests; odd: serving one. Grows.
  uint64_t turns() const { return turns_.load(std::memory_order_acquire); }

  // The kernel takes an answer only through the descriptor that gave the request. A session thread
  // has its own; a thread that answers for one takes over that one's.
  static int ReplyDescriptor();
  static void SetReplyDescriptor(int fd);
  // Runs `answer`, which answers a request that came in by this descriptor, on any thread.
  template <typename Function>
  static void AnswerThrough(int fd, Function answer) {
    const int own = ReplyDescriptor();
    SetReplyDescriptor(fd);
    answer();
    SetReplyDescriptor(own);
  }

  // Writes an answer through the thread's reply descriptor; a notice of a thread without one
  // through `fd`.
  static ssize_t WriteReply(int fd, struct iovec* iov, int count);

 private:
  void Inspect(std::span<std::byte>& request);

  int fd_;
  bool owns_fd_;
  std::byte* memory_;  // one mapping: the request buffer, then the reply buffer
  RequestFacts facts_;
  std::atomic<uint32_t>& agreed_;
  std::atomic<uint64_t> turns_{0};
};

}  // namespace prism::mount
