#include "vrpc/socket_endpoint.h"

#include "vrpc/doorbell.h"
#include "vrpc/ivshmem.h"
#include "vrpc/sockets.h"

namespace prism::vrpc {
namespace {

constexpr int64_t kClientIdMax = 65535;

tl::unexpected<Failure> ExplainVersion(const std::string& path, int64_t version) {
  if (version == RefusalFor(Err::kAccess))
    return Explain(Err::kAccess, "'{}' is not for this user", path);
  if (version == RefusalFor(Err::kAgain))
    return Explain(Err::kAgain, "the server at '{}' has as many connections as it allows", path);
  if (version == RefusalFor(Err::kBusy))
    return Explain(Err::kBusy, "'{}' is in use: it is for one connection at a time", path);
  return Explain(Err::kProtocol, "what answers at '{}' is not a Prism server", path);
}

Outcome<int64_t> ReceiveNumber(int socket_fd, Deadline deadline) {
  PRISM_ASSIGN(IvshmemMessage message, ReceiveMessage(socket_fd, deadline));
  if (message.fd) return Explain(Err::kProtocol, "the server sent a descriptor out of place");
  return message.value;
}

Outcome<UniqueFd> ReceiveFd(int socket_fd, int64_t announced_as, Deadline deadline) {
  PRISM_ASSIGN(IvshmemMessage message, ReceiveMessage(socket_fd, deadline));
  if (message.value != announced_as || !message.fd)
    return Explain(Err::kProtocol, "the server sent {} where {} and a descriptor belong",
                   message.value, announced_as);
  return std::move(message.fd);
}

}  // namespace

Outcome<std::unique_ptr<Endpoint>> SocketEndpoint::Connect(const std::string& path,
                                                           Deadline deadline) {
  PRISM_ASSIGN(UniqueFd socket, ConnectTo(path, deadline));
  PRISM_ASSIGN(int64_t version, ReceiveNumber(socket.get(), deadline));
  if (version != kIvshmemVersion) return ExplainVersion(path, version);
  PRISM_ASSIGN(int64_t own_id, ReceiveNumber(socket.get(), deadline));
  if (own_id <= kIvshmemServerId || own_id > kClientIdMax)
    return Explain(Err::kProtocol, "the server gave this client the number {}", own_id);
  PRISM_ASSIGN(UniqueFd memory, ReceiveFd(socket.get(), kIvshmemMemory, deadline));
  PRISM_ASSIGN(Segment segment, Segment::Open(std::move(memory)));
  PRISM_ASSIGN(Geometry geometry, CheckHeader(segment.memory()));
  std::unique_ptr<SocketEndpoint> endpoint(
      new SocketEndpoint(std::move(socket), std::move(segment)));
  PRISM_TRY(endpoint->ReceiveVectors(geometry.vectors(), own_id, deadline));
  return endpoint;
}

Outcome<void> SocketEndpoint::ReceiveVectors(uint32_t vectors, int64_t own_id, Deadline deadline) {
  for (uint32_t i = 0; i < vectors; ++i) {
    PRISM_ASSIGN(UniqueFd fd, ReceiveFd(socket_.get(), kIvshmemServerId, deadline));
    to_server_.push_back(std::move(fd));
  }
  for (uint32_t i = 0; i < vectors; ++i) {
    PRISM_ASSIGN(UniqueFd fd, ReceiveFd(socket_.get(), own_id, deadline));
    to_client_.push_back(std::move(fd));
  }
  return {};
}

EndpointFactory SocketEndpoint::FactoryFor(std::string path) {
  return [path = std::move(path)](Deadline deadline) { return Connect(path, deadline); };
}

void SocketEndpoint::RingServer(uint32_t vector) { Ring(to_server_[vector].get()); }

}  // namespace prism::vrpc
