// The server's end of all lanes: ports where clients connect, their channels, and a bounded pool of
// threads that serves the queues of all of them.
//
// A request runs to completion on the worker that found it. A worker that has drained a queue polls
// it a little longer while that pays, then says that it sleeps and goes to the next queue whose
// doorbell rings. Idle lanes cost no time. What a client writes into its segment is validated after
// one fetch; a client that breaks the protocol loses its session, with the reason in the log, and
// nobody else notices.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "fs/contract/file_system.h"
#include "vrpc/segment.h"

namespace prism::vrpc {

// Who wants to attach to what. All of it is the peer's word.
struct OpenRequest {
  std::string_view volume;  // 1 to kVolumeNameMax bytes of anything
  bool importing = false;   // to fill an import that is not published yet
  bool resume = false;      // the client had a session that was lost
  bool snapshots = false;   // the root shall have a directory .snapshot
  uint64_t client = 0;      // never 0
};

// Attaches a client to a volume. Called on one thread, one call at a time; a slow one delays other
// clients' handshakes, but not the sessions that are there.
using Opener = std::function<Outcome<std::shared_ptr<fs::FileSystem>>(const OpenRequest&)>;

// What a channel consists of, for whoever keeps it over the death of this process.
struct ChannelFds {
  UniqueFd socket;
  UniqueFd memory;                  // memfd
  std::vector<UniqueFd> to_server;  // eventfds, by vector
  std::vector<UniqueFd> to_client;  // eventfds, by vector
  // As passed to FdKeeper::Put: socket, memory, to_server, to_client.
  std::vector<int> Numbers() const;
  // The reverse. kInvalid: not 2 + 2 V descriptors.
  static Outcome<ChannelFds> FromList(std::vector<UniqueFd> fds);
};

// Keeps the descriptors of a port's channel over the death of this process. Called on the keeper
// thread: must not wait for long.
class FdKeeper {
 public:
  virtual ~FdKeeper() = default;
  // A channel has been made. The descriptors (2 + 2 V, up to 514) are the caller's: duplicate them.
  virtual void Put(const std::string& port, std::span<const int> fds) = 0;
  // It has ended.
  virtual void Remove(const std::string& port) = 0;
};

struct PortOptions {
  std::string name;  // among the ports of a server; also in the log
  std::string path;  // of the socket: made, mode 0600, and owned by uid; removed with the port
  uid_t uid = 0;     // who may connect, besides root
  Geometry geometry;
  Opener opener;
  // One connection at a time (a VM's), which stays while lanes of it come and go; else any number,
  // each of which ends soon after its last session has.
  bool single = false;
  // With `single`: keeps the channel's descriptors; it then survives this server, and is passed to
  // Adopt by the next one. May be null. Must outlive the server.
  FdKeeper* fd_keeper = nullptr;
};

struct ServerOptions {
  uint32_t workers = 8;  // threads; each blocked fsync takes one
  // Connections to ports that are not `single`, of which one process has half at most; fewer if
  // they, of 2 + 2 V descriptors each, would take more than half of RLIMIT_NOFILE at the start. The
  // rest is for `single` ports: each has its one connection, whatever others do.
  uint32_t channels_max = 4096;
  uint32_t spin_us_max = 50;         // longest polling of one queue; 0: never
  uint32_t hello_timeout_ms = 5000;  // a connection without a session is closed after this, except
                                     // to a `single` port
  uint64_t durability_epoch = 0;     // what clients are told: see Answer
};

// One lane of a channel, from its first session on.
struct LaneInfo {
  uint64_t id = 0;  // never used again by this server
  std::string port;
  uint32_t lane = 0;  // its index in the channel
  pid_t pid = 0;      // who is connected
  uid_t uid = 0;
  uint64_t sessions = 0;    // begun so far
  uint64_t drops = 0;       // of them, ended by the server
  std::string drop_reason;  // of the latest
  // Of the session that is, or was the latest:
  bool attached = false;  // it is
  std::string volume;
  bool importing = false;
  uint64_t client = 0;
  int64_t connected_sec = 0;   // wall clock, seconds since 1970
  uint32_t queues = 0;         // that it uses
  uint32_t waiting = 0;        // requests in its rings
  uint64_t calls = 0;          // served
  uint64_t errors = 0;         // of them, answered with an error
  uint64_t read_bytes = 0;     // by READ
  uint64_t written_bytes = 0;  // by WRITE and CREATE
};

// Who is connected to a port, with a session or without.
struct ConnectionInfo {
  std::string port;
  pid_t pid = 0;
  uid_t uid = 0;
};

// THREADS: any, but no call from within an opener or FdKeeper, nor with a lock held that one takes.
class Server {
 public:
  static Outcome<std::unique_ptr<Server>> Start(const ServerOptions& options = {});
  ~Server();  // Stop
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Serves at a port from the return on. Errors: kInvalid (its geometry), kExists (a port of that
  // name, or a file at the path that is no socket), kBusy (another server listens there).
  Outcome<void> AddPort(PortOptions options);
  // Ends its channels, also for their FdKeeper, and removes the socket file; false: no such port.
  // Returns when all is over but calls under way.
  bool RemovePort(const std::string& name);
  // A channel that a former server made at a port of this name and geometry: goes on with it, with
  // new epochs. Errors: kNoEntry (no such `single` port), kBusy (it has a channel), kInvalid (the
  // descriptors are not such a channel), kDisconnected (the client has gone).
  Outcome<void> Adopt(const std::string& port, ChannelFds fds);

  // Ends all sessions: running requests finish, all FileSystem objects are released, the socket
  // files go; channels that are kept by a FdKeeper are left alone. Returns when no thread of the
  // server is left. Idempotent; any thread but a worker.
  void Stop();
  // Ends a lane's session; false: no such lane, or it has none. Calls end with kDisconnected.
  bool Drop(uint64_t lane_id);
  std::vector<LaneInfo> Lanes() const;
  std::vector<ConnectionInfo> Connections() const;

 private:
  class Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace prism::vrpc
