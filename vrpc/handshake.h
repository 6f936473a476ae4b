// How a lane comes into being: one exchange over a UNIX stream socket.
//
// The client sends one Hello, the server one Answer which carries the segment and its eventfds by
// SCM_RIGHTS. Both are of fixed size, so neither side allocates by a peer's length. The socket then
// stays open and silent: its end is the death notice in both directions. Nothing else is ever sent.
// PROTOCOL.md has the bytes.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"

namespace prism::vrpc {

// Where a server whose control socket is control_path listens for lanes.
std::string LanePathFor(std::string_view control_path);

inline constexpr uint64_t kHelloMagic = 0x314f4c4c45485650;   // "PVHELLO1"
inline constexpr uint64_t kAnswerMagic = 0x31525753414e5650;  // "PVNASWR1"
inline constexpr uint32_t kVersion = 1;                       // of everything in PROTOCOL.md
inline constexpr size_t kVolumeNameMax = 128;                 // bytes
inline constexpr size_t kAnswerMessageMax = 472;              // bytes
inline constexpr uint32_t kHelloImporting = 1;                // flag: attach to fill an import

struct Hello {
  uint64_t magic;
  uint32_t version_min;
  uint32_t version_max;
  uint32_t flags;
  uint32_t queues;  // how many the client wants; 0: as many as the server gives
  uint32_t volume_bytes;
  uint32_t reserved;  // 0
  char volume[kVolumeNameMax];
};
static_assert(sizeof(Hello) == 160);

struct Answer {
  uint64_t magic;
  uint32_t version;        // the one both will use
  uint32_t error;          // an Err; kOk: the descriptors came along
  uint64_t segment_bytes;  // size of the memfd
  uint32_t queues;         // how many there are
  uint32_t message_bytes;
  uint64_t reserved;  // 0
  char message[kAnswerMessageMax];
};
static_assert(sizeof(Answer) == 512);

// The eventfds of a lane. Descriptors travel in this order: segment, notify, then per queue
// doorbell and completion.
struct LaneFds {
  UniqueFd notify;                    // eventfd: events wait for the client
  std::vector<UniqueFd> doorbells;    // eventfd per queue: requests wait for the server
  std::vector<UniqueFd> completions;  // eventfd per queue: replies wait for the client
};

using Deadline = std::chrono::steady_clock::time_point;

// A listening, non-blocking socket of mode 0600. A socket file nobody listens on is replaced; one
// with a live server is kBusy.
Outcome<UniqueFd> ListenAt(const std::string& path);
// A connected socket. kDisconnected: no server there.
Outcome<UniqueFd> ConnectTo(const std::string& path, Deadline deadline);

// The client's half, on a connected socket.
struct Welcome {
  UniqueFd segment;  // memfd
  uint64_t segment_bytes = 0;
  LaneFds fds;
};
Outcome<Welcome> Greet(int socket_fd, const Hello& hello, Deadline deadline);

// The server's half. Checks what a hello says; the volume's name is only bounded, not judged.
Outcome<void> CheckHello(const Hello& hello);
// Both best effort: a client that has gone is noticed by its socket.
void SendWelcome(int socket_fd, int segment_fd, uint64_t segment_bytes, const LaneFds& fds);
void SendRefusal(int socket_fd, const Failure& failure);

// Who is at the other end, as the kernel says.
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
};
Outcome<Peer> PeerOf(int socket_fd);

}  // namespace prism::vrpc
