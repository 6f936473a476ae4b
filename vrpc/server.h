// The server's end of all lanes: accepts clients, serves their queues with a bounded pool of
// threads.
//
// A request runs to completion on the worker that found it. A worker that has drained a queue polls
// it a little longer while that pays, then says that it sleeps and goes to the next queue whose
// doorbell rings. Idle lanes cost no time. What a client writes into its segment is validated after
// one fetch; a client that breaks the protocol is dropped, with the reason in the log, and nobody
// else notices.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"

namespace prism::vrpc {

// Attaches a client to a volume. Called on one thread, one call at a time; a slow one delays other
// clients' connecting, but not the lanes that are there. The name is what the peer sent: at most
// kVolumeNameMax bytes of anything.
using Opener = std::function<Outcome<std::shared_ptr<fs::FileSystem>>(std::string_view volume,
                                                                      bool importing)>;

struct ServerOptions {
  uint32_t workers = 8;              // threads; each blocked fsync takes one
  uint32_t queues = 8;               // per lane at most: calls a client can have under way
  uint32_t lanes_max = 4096;         // each needs 2 + 2 x queues descriptors: see RLIMIT_NOFILE
  uint32_t spin_us_max = 50;         // longest polling of one queue; 0: never
  uint32_t hello_timeout_ms = 5000;  // a connection that says nothing is closed after this
};

struct LaneInfo {
  uint64_t id = 0;  // never used again by this server
  std::string volume;
  bool importing = false;
  pid_t pid = 0;
  uid_t uid = 0;
  int64_t connected_sec = 0;   // wall clock, seconds since 1970
  uint64_t calls = 0;          // served since then
  uint64_t errors = 0;         // of them, answered with an error
  uint64_t read_bytes = 0;     // by READ
  uint64_t written_bytes = 0;  // by WRITE and CREATE
};

class Server {
 public:
  // path: see LanePathFor. Serves from the return on. kBusy: another server listens there.
  static Outcome<std::unique_ptr<Server>> Listen(const std::string& path, Opener opener,
                                                 const ServerOptions& options = {});
  ~Server();  // Stop
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Ends all lanes: running requests finish, all FileSystem objects are released, the socket file
  // goes. Returns when no thread of the server is left. Idempotent; any thread but a worker.
  void Stop();
  // Drops one client; false: no such lane. Its calls end with kDisconnected.
  bool Drop(uint64_t lane_id);
  // Any thread.
  std::vector<LaneInfo> Lanes() const;

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prism::vrpc
