// Eventfds as doorbells.
//
// An eventfd's file flags belong to both processes, so O_NONBLOCK protects nobody from a peer that
// clears it; the server therefore never relies on it (TryClear, RingUnlessRung, Signaller).
#pragma once

#include <linux/aio_abi.h>

#include <memory>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"

namespace prism::vrpc {

Outcome<UniqueFd> MakeDoorbell();

// Adds one. Blocks only when the counter stands at its maximum.
void Ring(int fd);
bool IsRung(int fd);
// The same for a doorbell whose other end may be hostile: nothing if it is still ringing. (A peer
// that fills the counter between the two steps can block the caller until somebody reads it.)
void RingUnlessRung(int fd);

// Rings without ever blocking, whatever the other end does to the counter and the flags: the kernel
// does it, as the completion of an asynchronous write of nothing (io_submit(2), IOCB_FLAG_RESFD).
// Costs a microsecond, several times a write. THREADS: any.
class Signaller {
 public:
  // Errors: kNotSupported (a kernel without it), kAgain (fs.aio-max-nr is used up).
  static Outcome<std::unique_ptr<Signaller>> Make();
  ~Signaller();
  Signaller(const Signaller&) = delete;
  Signaller& operator=(const Signaller&) = delete;

  // Adds one; a counter that stands at its maximum stays there.
  void Ring(int fd);

 private:
  Signaller(aio_context_t context, UniqueFd sink) : context_(context), sink_(std::move(sink)) {}

  const aio_context_t context_;
  const UniqueFd sink_;  // /dev/null
};
// Resets the counter without ever blocking.
void TryClear(int fd);
// Sleeps until it rings (or a signal comes), and resets it.
void AwaitRing(int fd);

}  // namespace prism::vrpc
