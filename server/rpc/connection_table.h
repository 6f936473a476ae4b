// All connections of a server: taking them in, finding them, letting them go.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/log_limit.h"
#include "server/rpc/connection.h"
#include "server/rpc/counters.h"
#include "server/rpc/memory.h"
#include "server/rpc/server.h"

namespace prism::rpc {

inline constexpr uint64_t kFirstConnectionId = 16;  // below are the other tokens of the epoll set

// THREADS: any.
class ConnectionTable {
 public:
  ConnectionTable(const RpcOptions& options, Counters& counters)
      : options_(options),
        counters_(counters),
        patience_{.idle_ns = options.idle_timeout_ms * uint64_t{1'000'000},
                  .record_ns = options.record_timeout_ms * uint64_t{1'000'000},
                  .send_ns = options.send_timeout_ms * uint64_t{1'000'000}},
        overall_(options.bytes_in_flight_max),
        clients_(options.client_bytes_in_flight_max, overall_) {}

  // Takes in a socket that has been accepted, or closes it: the table is full. Above the bound of
  // one client, `evicted` is what has to be closed for it.
  void Add(UniqueFd fd, const PeerAddress& peer, int epoll_fd,
           std::shared_ptr<Connection>& evicted);
  std::shared_ptr<Connection> Find(uint64_t id) const;
  // Nobody finds it any more.
  void Remove(uint64_t id);
  std::vector<std::shared_ptr<Connection>> All() const;
  size_t size() const;
  size_t clients() const;
  uint64_t bytes_in_flight() const { return overall_.used_bytes(); }

 private:
  std::shared_ptr<Connection> LongestIdleLocked(const Client& client) const;

  const RpcOptions& options_;
  Counters& counters_;
  const Patience patience_;
  Budget overall_;
  ClientTable clients_;
  LogLimit log_;
  mutable std::mutex mutex_;
  uint64_t next_id_ = kFirstConnectionId;
  std::unordered_map<uint64_t, std::shared_ptr<Connection>> connections_;
};

}  // namespace prism::rpc
