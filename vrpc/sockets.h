// UNIX stream sockets of ports: where they are, who is at the other end.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/endpoint.h"

namespace prism::vrpc {

// Where a server whose control socket is control_path has its general port.
std::string LanePathFor(std::string_view control_path);

// A listening, non-blocking socket of mode 0600, owned by uid. A socket file nobody listens on is
// replaced; one with a live server is kBusy.
Outcome<UniqueFd> ListenAt(const std::string& path, uid_t uid);
// A connected socket. kDisconnected: no server there.
Outcome<UniqueFd> ConnectTo(const std::string& path, Deadline deadline);

// Until then, for poll(); 0 when it has passed.
int RemainingMs(Deadline deadline);

// Who is at the other end, as the kernel says.
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
};
Outcome<Peer> PeerOf(int socket_fd);

}  // namespace prism::vrpc
