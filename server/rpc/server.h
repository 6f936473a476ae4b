// Serves RPC programs over TCP (RFC 5531): several programs and versions at one address and port.
//
// What it promises to its programs and clients, and how, is in server/rpc/README.md.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "server/rpc/program.h"
#include "server/rpc/reply_cache.h"

namespace prism::rpc {

struct RpcOptions {
  std::string listen = "127.0.0.1:2049";  // numeric; port 0: any that is free
  std::vector<std::shared_ptr<Program>> programs;
  uint32_t workers = 16;  // threads: a blocked call takes one

  uint32_t connections_max = 1024;
  uint32_t connections_per_client_max = 64;  // beyond, the one idle for longest is closed
  // Memory of calls that are being read or run and replies not yet sent, beyond 16 KiB for each
  // connection. A call that finds it taken is refused (kAgain).
  uint64_t bytes_in_flight_max = uint64_t{256} << 20;
  uint64_t client_bytes_in_flight_max = uint64_t{64} << 20;
  size_t record_max_bytes = (1 << 20) + (8 << 10);

  uint32_t idle_timeout_ms = 360'000;   // a connection without calls; Linux closes after 300 s
  uint32_t record_timeout_ms = 30'000;  // for each 64 KiB of a record that has begun
  uint32_t send_timeout_ms = 30'000;    // for each 64 KiB that the client should take

  ReplyCacheLimits reply_cache;

  // Makes the store durable up to a mark, waiting if it must. Called by one thread at a time;
  // a mark may be durable already. Empty: everything is durable at once.
  std::function<Status(uint64_t mark)> wait_durable;
};

// Since the start, but for what says "now".
struct RpcStats {
  uint64_t connections = 0;  // now
  uint64_t connections_accepted = 0;
  uint64_t connections_refused = 0;  // over the bounds
  uint64_t connections_broken = 0;   // closed because of what the client sent
  uint64_t connections_expired = 0;  // closed by a time-out
  uint64_t calls = 0;                // that were well-formed, whatever became of them
  uint64_t errors = 0;               // of them, not accepted or not successful at the RPC level
  uint64_t refused = 0;              // of them, because of load
  uint64_t replays = 0;              // of them, answered from the reply cache
  uint64_t replays_dropped = 0;      // of them, because the first is still being executed
  uint64_t parked = 0;               // of them, waited for other blocking calls of their client
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  uint64_t durable_replies = 0;  // that had to wait for the store
  uint64_t durable_waits = 0;    // calls of wait_durable
  uint64_t durable_failures = 0;
  uint64_t bytes_in_flight = 0;  // now
  uint64_t cached_replies = 0;   // now
  uint64_t cached_bytes = 0;     // now
  uint64_t clients = 0;          // now: addresses
};

class RpcServer {
 public:
  // Serves from the return on.
  static Outcome<std::unique_ptr<RpcServer>> Start(RpcOptions options);
  ~RpcServer();  // Stop
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // Calls that run finish, then all connections are closed. Returns when no thread of the server is
  // left. Idempotent; any thread but a worker.
  void Stop();

  // Where it listens, with the port it got.
  const PeerAddress& address() const;
  RpcStats Stats() const;

 private:
  class Impl;
  explicit RpcServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prism::rpc
