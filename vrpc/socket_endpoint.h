// A channel by a UNIX socket: of a process or a container on the server's own machine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/endpoint.h"
#include "vrpc/segment.h"

namespace prism::vrpc {

class SocketEndpoint final : public Endpoint {
 public:
  // path: of a port's socket (LanePathFor, for the general one). Errors: kDisconnected (no server
  // there), kTimedOut, kProtocol (not a Prism server, or none of this version), and the server's
  // refusals: kAccess (not this user), kAgain (it has too many connections), kBusy (somebody is
  // connected, and the port is for one at a time).
  static Outcome<std::unique_ptr<Endpoint>> Connect(const std::string& path, Deadline deadline);
  // Connects to path anew each time.
  static EndpointFactory FactoryFor(std::string path);

  std::span<std::byte> memory() const override { return segment_.memory(); }
  void RingServer(uint32_t vector) override;
  int EventFd(uint32_t vector) const override { return to_client_[vector].get(); }
  int lifeline() const override { return socket_.get(); }
  // The first: nobody else has this segment.
  Outcome<uint32_t> ClaimLane(uint32_t) override { return 0; }

 private:
  SocketEndpoint(UniqueFd socket, Segment segment)
      : socket_(std::move(socket)), segment_(std::move(segment)) {}
  Outcome<void> ReceiveVectors(uint32_t vectors, int64_t own_id, Deadline deadline);

  UniqueFd socket_;
  Segment segment_;
  std::vector<UniqueFd> to_server_;
  std::vector<UniqueFd> to_client_;
};

}  // namespace prism::vrpc
