// The client of a portmapper (rpcbind): RFC 1833, protocol version 2.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "server/rpc/client.h"
#include "server/rpc/program.h"

namespace prism::rpc {

inline constexpr uint16_t kPortmapPort = 111;

// The port of a program that serves TCP. kNoEntry: none is registered; others as CallRemote.
// `address` is the portmapper's: its port is usually kPortmapPort.
Result<uint16_t> PortmapGetPort(const PeerAddress& address, uint32_t program, uint32_t version,
                                Deadline deadline);

struct PortmapEntry {
  uint32_t program = 0;
  uint32_t version = 0;
  uint16_t port = 0;
};

struct PortmapOptions {
  // rpcbind's UNIX socket, where it knows who registers, and lets no other user take that back.
  // Where nobody listens there, or empty: the address.
  std::string socket_path = "/run/rpcbind.sock";
  std::string address = "127.0.0.1:111";
  uint32_t timeout_ms = 2000;  // of each call
};

// Registers programs as long as it lives.
class PortmapRegistration {
 public:
  // All or nothing. What a server that has died left there is replaced: nobody answers at its port.
  // kBusy: another server has registered one of them, and answers. kDisconnected: no portmapper.
  static Outcome<std::unique_ptr<PortmapRegistration>> Register(
      const std::vector<PortmapEntry>& entries, const PortmapOptions& options = {});
  // Takes back what is still ours there; waits for the time-out at most.
  ~PortmapRegistration();
  PortmapRegistration(const PortmapRegistration&) = delete;
  PortmapRegistration& operator=(const PortmapRegistration&) = delete;

 private:
  PortmapRegistration() = default;
  // At the socket or, if nobody listens there, at the address.
  Result<uint32_t> Call(uint32_t procedure, const PortmapEntry& entry) const;
  Outcome<void> RegisterOne(const PortmapEntry& entry);

  PortmapOptions options_;
  PeerAddress address_;
  std::vector<PortmapEntry> registered_;
};

}  // namespace prism::rpc
