// Sockets: their options, and addresses in the forms that people and kernels use.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>
#include <string_view>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "server/rpc/program.h"

namespace prism::rpc {

// "10.0.0.7:2049", "[fd00::7]:2049", "[::]:0": numeric addresses only, so that nothing waits for a
// name server.
Outcome<PeerAddress> ParseEndpoint(std::string_view text);
// The reverse, with the port.
std::string EndpointText(const PeerAddress& address);

PeerAddress FromSockaddr(const sockaddr_storage& address);
// IPv4 addresses become AF_INET. Returns the length.
socklen_t ToSockaddr(const PeerAddress& address, sockaddr_storage& out);

// A listening socket, non-blocking; `bound` has the port that it got. "[::]" takes IPv4 too.
Outcome<UniqueFd> ListenAt(const PeerAddress& address, PeerAddress& bound);

// No delay, keep-alive (a vanished peer is noticed within two minutes).
void SetConnectionOptions(int fd);

}  // namespace prism::rpc
