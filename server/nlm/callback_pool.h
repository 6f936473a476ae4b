// Calls that we make at clients: that a lock is granted, results of the *_MSG procedures, that we
// have restarted. A few threads, because each call may have to wait for a machine that is gone; one
// address has one of them at a time, so that one that is gone, or pretends to be, does not hold up
// the others.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "fs/base/error.h"
#include "server/rpc/client.h"

namespace prism::nlm {

struct CallbackOptions {
  uint16_t portmap_port = 111;  // of the clients' portmappers
  uint32_t timeout_ms = 5000;   // of one attempt, portmapper included
  unsigned threads = 4;
};

// THREADS: any.
class CallbackPool {
 public:
  static constexpr size_t kWaitingMax = 4096;

  explicit CallbackPool(const CallbackOptions& options);
  ~CallbackPool();  // Stop

  // Runs `task`, which calls `peer`, on a thread of the pool. False: too many wait, or it has
  // stopped; it is not run.
  bool Run(const rpc::PeerAddress& peer, std::chrono::milliseconds after,
           std::function<void()> task);
  // What runs ends; what waits is forgotten.
  void Stop();

  // On a thread of the pool: asks the peer's portmapper, and calls. Errors as CallRemote, and
  // kNoEntry: the program is not there.
  Result<std::vector<std::byte>> Call(const rpc::PeerAddress& peer,
                                      const rpc::RemoteProcedure& procedure,
                                      std::span<const std::byte> args) const;

 private:
  using Time = std::chrono::steady_clock::time_point;
  using Ip = decltype(rpc::PeerAddress::ip);
  struct Task {
    Ip ip;
    std::function<void()> run;
  };
  void Serve();
  // The first that is due and whose address is idle, or end(). REQUIRES: mutex_
  std::multimap<Time, Task>::iterator Next();

  const CallbackOptions options_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<Time, Task> waiting_;
  std::vector<Ip> running_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace prism::nlm
