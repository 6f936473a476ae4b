// Eventfds as doorbells.
//
// An eventfd's file flags belong to both processes, so O_NONBLOCK protects nobody from a peer that
// clears it; the server therefore never relies on it (TryClear, RingUnlessRung).
#pragma once

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"

namespace prism::vrpc {

Outcome<UniqueFd> MakeDoorbell();

// Adds one. Blocks only when the counter stands at its maximum.
void Ring(int fd);
// The same for a doorbell whose other end may be hostile: nothing if it is still ringing. (A peer
// that fills the counter between the two steps can block the caller until the lane ends.)
void RingUnlessRung(int fd);
// Resets the counter without ever blocking.
void TryClear(int fd);
// Sleeps until it rings (or a signal comes), and resets it.
void AwaitRing(int fd);

}  // namespace prism::vrpc
