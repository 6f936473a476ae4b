// How many workers may be at calls that can wait for the medium: overall, so that one is always
// left for the calls that cannot, and per client, so that none takes all. Those beyond wait here,
// as parked connections, not as blocked threads; clients that wait for the overall bound take
// turns.
//
// THREADS: any.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "server/rpc/connection.h"

namespace prism::rpc {

class BlockingGate {
 public:
  BlockingGate(uint32_t overall_max, uint32_t client_max)
      : overall_max_(overall_max), client_max_(client_max) {}

  // True: the caller is in, and leaves by Leave.
  bool TryEnter(const Client& client);
  // The same or, of a connection that has been parked, joins the queue.
  bool EnterOrWait(const std::shared_ptr<Connection>& connection);
  // Whoever is next has been granted its turn.
  void Leave(const Client& client);
  // It has been closed.
  void Forget(const Connection& connection);

  uint32_t inside() const;
  uint32_t waiting() const;

 private:
  struct Line {
    uint32_t inside = 0;
    std::deque<std::shared_ptr<Connection>> waiting;
  };
  bool EnterLocked(const Client& client);
  std::shared_ptr<Connection> NextLocked();

  const uint32_t overall_max_;
  const uint32_t client_max_;
  mutable std::mutex mutex_;
  uint32_t inside_ = 0;
  std::unordered_map<const Client*, Line> lines_;  // those that have anything here
  std::list<const Client*> turns_;                 // those who wait
};

}  // namespace prism::rpc
