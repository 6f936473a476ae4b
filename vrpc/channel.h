// The server's side of a channel: the segment, the eventfds of both directions, and how they are
// made known to the client.
//
// THREADS: immutable but for what others write into the memory; any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/doorbell.h"
#include "vrpc/ivshmem.h"
#include "vrpc/segment.h"

namespace prism::vrpc {

class Channel {
 public:
  // signaller: rings a client that must not be able to block who rings it; null for one that could
  // do worse to the server anyhow. Must outlive the channel. REQUIRES: geometry.Valid().
  static Outcome<std::shared_ptr<Channel>> Create(const Geometry& geometry,
                                                  Signaller* signaller = nullptr);
  // One that a former server made. Errors: kInvalid (it is not of this geometry, or these are not
  // a sealed memfd and eventfds).
  static Outcome<std::shared_ptr<Channel>> Adopt(const Geometry& geometry, UniqueFd memory,
                                                 std::vector<UniqueFd> to_server,
                                                 std::vector<UniqueFd> to_client,
                                                 Signaller* signaller = nullptr);

  const Geometry& geometry() const { return geometry_; }
  LaneMemory lane(uint32_t index) const { return {segment_.memory().data(), geometry_, index}; }
  int doorbell(uint32_t vector) const { return to_server_[vector].get(); }
  void RingClient(uint32_t vector) const {
    int fd = to_client_[vector].get();
    if (signaller_ == nullptr)
      RingUnlessRung(fd);
    else if (!IsRung(fd))
      signaller_->Ring(fd);
  }
  // All vectors of one lane.
  void RingAll(uint32_t lane) const;

  // The messages that tell a client of this channel: sends from number `next` on, and moves it.
  // kNothing: the rest when the socket is writable.
  Sent Announce(int socket_fd, int64_t client_id, uint32_t& next) const;
  // As ChannelFds::Numbers.
  std::vector<int> Numbers(int socket_fd) const;

 private:
  Channel(const Geometry& geometry, Segment segment, std::vector<UniqueFd> to_server,
          std::vector<UniqueFd> to_client, Signaller* signaller);

  const Geometry geometry_;
  const Segment segment_;
  const std::vector<UniqueFd> to_server_;
  const std::vector<UniqueFd> to_client_;
  Signaller* const signaller_;
};

}  // namespace prism::vrpc
