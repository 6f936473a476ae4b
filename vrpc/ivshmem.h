// The only thing that a port's socket ever carries: the server's half of QEMU's ivshmem protocol
// (qemu: docs/specs/ivshmem-spec.rst, "Client-Server protocol"), so that an unmodified QEMU can be
// the client. Each message is an int64, little-endian, with at most one descriptor.
#pragma once

#include <cstdint>

#include "fs/base/error.h"
#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/endpoint.h"

namespace prism::vrpc {

inline constexpr int64_t kIvshmemVersion = 0;
inline constexpr int64_t kIvshmemMemory = -1;   // the message that brings the segment
inline constexpr int64_t kIvshmemServerId = 0;  // the server's, as a peer; clients have others

// Ours: in place of the version, the negative number of an Err says why the server lets nobody in.
// QEMU takes it for a version that it does not know, and gives up.
inline constexpr int64_t RefusalFor(Err err) { return -static_cast<int64_t>(err); }

enum class Sent : uint8_t {
  kAll,
  kNothing,  // there is no room; try again when the socket is writable
  kGone,     // nobody is there, or the system takes no more descriptors (ETOOMANYREFS)
};
// fd: -1 for none. Never blocks.
Sent SendMessage(int socket_fd, int64_t value, int fd);

struct IvshmemMessage {
  int64_t value = 0;
  UniqueFd fd;  // if one came along
};
// Errors: kDisconnected, kTimedOut, kProtocol (several descriptors).
Outcome<IvshmemMessage> ReceiveMessage(int socket_fd, Deadline deadline);

}  // namespace prism::vrpc
