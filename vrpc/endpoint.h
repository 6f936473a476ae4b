// What a client has of a channel: memory shared with a server, and doorbells in both directions.
// Where these come from differs (a UNIX socket, a PCI device); all that is done with them does not.
//
// Vectors are numbered as in layout.h. THREADS: every member, from any thread, except that
// ClaimLane is called once, before the others' lanes are touched.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "fs/base/failure.h"

namespace prism::vrpc {

using Deadline = std::chrono::steady_clock::time_point;

class Endpoint {
 public:
  virtual ~Endpoint() = default;  // ends the channel, or gives the lane back

  // The whole segment, mapped shared for reading and writing for as long as this object lives. Its
  // size is what the system says it is (the memfd's, the BAR's), never what the header claims.
  // Access must not fault.
  virtual std::span<std::byte> memory() const = 0;
  // False: the kernel refuses this memory as a buffer of some system calls, as it does a device's.
  virtual bool memory_is_pages() const { return true; }

  // Rings one of the server's vectors.
  virtual void RingServer(uint32_t vector) = 0;
  // An eventfd that is rung when the server rings this vector of the client's; -1: there is none,
  // and the client polls the memory instead. The same answer for all vectors, always.
  virtual int EventFd(uint32_t vector) const = 0;
  // A descriptor that becomes readable or hangs up when the channel has ended; -1: nothing tells,
  // and only the lane's epoch says that the server has let go.
  virtual int lifeline() const = 0;

  // Claims one of the segment's lanes against the other users of this channel, for as long as this
  // object lives. Errors: kBusy (all are in use), kIo.
  virtual Outcome<uint32_t> ClaimLane(uint32_t lanes) = 0;
};

// Makes a new endpoint; again, when the channel of the one before has ended.
using EndpointFactory = std::function<Outcome<std::unique_ptr<Endpoint>>(Deadline)>;

}  // namespace prism::vrpc
