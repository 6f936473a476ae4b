// Messages with descriptors over UNIX sockets that keep message boundaries (SOCK_SEQPACKET).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"

namespace prism::server {

inline constexpr size_t kMessageFdsMax = 250;  // the kernel's SCM_MAX_FD is 253

struct FdMessage {
  std::string bytes;
  std::vector<UniqueFd> fds;
};

// False, with errno, when it was not sent. REQUIRES: at least one byte, at most kMessageFdsMax.
bool SendFds(int socket_fd, std::string_view bytes, std::span<const int> fds);

// The next message, whole. kDisconnected: there is none any more. kProtocol: it has more than
// bytes_max bytes, or more descriptors than could be taken. kAgain: nothing is there and flags has
// MSG_DONTWAIT, or the socket's timeout is over.
Outcome<FdMessage> ReceiveFds(int socket_fd, size_t bytes_max, int flags = 0);

}  // namespace prism::server
