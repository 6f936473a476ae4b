// The server's parts. One thread, the keeper, accepts clients, answers their Hellos and notices
// their ends; the worker pool serves. All state here is the keeper's own, except where noted.
#pragma once

#include <spdlog/spdlog.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fs/base/log_limit.h"
#include "vrpc/channel.h"
#include "vrpc/endpoint.h"
#include "vrpc/inbox.h"
#include "vrpc/lane.h"
#include "vrpc/layout.h"
#include "vrpc/rate_limit.h"
#include "vrpc/server.h"
#include "vrpc/sockets.h"
#include "vrpc/worker_pool.h"

namespace prism::vrpc {

class Server::Impl {
 public:
  explicit Impl(const ServerOptions& options) : options_(options) {}
  ~Impl() { Stop(); }

  Outcome<void> Start();
  // The members of Server.
  Outcome<void> AddPort(PortOptions options);
  bool RemovePort(const std::string& name);
  Outcome<void> Adopt(const std::string& port, ChannelFds fds);
  bool Drop(uint64_t lane_id);
  void Stop();
  std::vector<LaneInfo> Lanes() const;
  std::vector<ConnectionInfo> Connections() const;

 private:
  struct Port {
    uint64_t id = 0;
    PortOptions options;
    UniqueFd listener;
    int64_t next_client_id = 1;
    RateLimit accepts;  // of a `single` port
    LogLimit log;
  };
  // A lane's handshake, and the session that it has.
  struct Slot {
    uint64_t epoch = 0;
    uint32_t seen_seq = 0;   // of the latest Hello that was looked at
    bool hello_due = false;  // one waits for the session before it to end
    uint64_t session = 0;    // 0: none
    bool ending = false;     // the session is over, but somebody may still be inside
    // With table_mutex_: what Lanes tells.
    LaneInfo info;
    bool listed = false;
    std::weak_ptr<Lane> lane;
  };
  struct Connection {
    uint64_t id = 0;
    std::shared_ptr<Port> port;
    UniqueFd socket;
    Peer peer;
    int64_t client_id = 0;
    std::shared_ptr<Channel> channel;
    uint32_t announced = 0;  // messages sent
    bool open = false;       // all of them
    RateLimit hellos;
    Deadline idle_since;
    std::vector<Slot> slots;
  };

  // Tokens of the keeper's epoll set, and of its timers: an id of a port or connection, and which
  // part of it.
  static constexpr uint64_t kInboxToken = 0;
  static constexpr uint32_t kSocketPart = 255;  // others: a lane's handshake doorbell
  static_assert(kLanesMax <= kSocketPart);
  static uint64_t TokenOf(uint64_t id, uint32_t part) { return id << 8 | part; }

  // server.cc: the keeper thread.
  void Keep();
  void Dispatch(uint64_t token, uint32_t events);
  void RunTimers();
  int NextTimeoutMs() const;
  void SetTimer(Deadline when, uint64_t token) { timers_.insert({when, token}); }
  bool RunOnKeeper(const std::function<void()>& task);
  bool Watch(int fd, uint64_t token, uint32_t events) const;
  void Rewatch(int fd, uint64_t token, uint32_t events) const;
  void Unwatch(int fd) const;

  // server_ports.cc: ports and connections.
  // A line that whoever is at the port can cause: a machine's, and warnings about anybody, come at
  // a bounded rate.
  static void Log(Port& port, spdlog::level::level_enum level, std::string line);
  Outcome<void> OpenPort(PortOptions options);
  void ClosePort(uint64_t id, bool handover);
  void Accept(Port& port);
  void Admit(const std::shared_ptr<Port>& port, UniqueFd socket);
  Signaller* SignallerFor(const Port& port) const {
    return port.options.single ? signaller_.get() : nullptr;
  }
  Err Judge(const Port& port, const Peer& peer);
  bool HasRoom(const Port& port, const Peer& peer) const;  // REQUIRES: not `single`
  Connection* Connect(const std::shared_ptr<Port>& port, UniqueFd socket, const Peer& peer,
                      std::shared_ptr<Channel> channel, bool adopted);
  Outcome<void> AdoptNow(const std::string& port, ChannelFds fds);
  void Announce(Connection& connection);
  bool OpenLanes(Connection& connection);
  void OnSocket(Connection& connection, uint32_t events);
  void CheckIdle(Connection& connection);
  Connection* ConnectionOf(const Port& port);
  void EndConnection(uint64_t id, bool handover);

  // server_sessions.cc: Hellos and sessions.
  void OnHelloBell(Connection& connection, uint32_t lane);
  void RearmHelloBell(Connection& connection, uint32_t lane);
  void TryHandshake(Connection& connection, uint32_t lane);
  Outcome<Answer> OpenSession(Connection& connection, uint32_t lane, const Hello& hello);
  Lane::Notices NoticesFor(const Connection& connection, uint32_t lane, uint64_t session);
  // dropped_for: why the server ends it; empty: it has been asked to.
  void EndSession(Connection& connection, uint32_t lane, const std::string& dropped_for = {});
  void DropSession(Connection& connection, uint32_t lane, const std::string& reason);
  void NewEpoch(Connection& connection, uint32_t lane);
  void OnSessionGone(uint64_t connection_id, uint32_t lane, uint64_t session);

  const ServerOptions options_;
  std::shared_ptr<Inbox> inbox_;
  UniqueFd epoll_;
  std::unique_ptr<Signaller> signaller_;  // for `single` ports; null: the kernel has none
  std::unique_ptr<WorkerPool> pool_;
  std::mutex stop_mutex_;
  std::thread keeper_;
  bool stopping_ = false;
  uint64_t descriptors_max_ = 0;  // of the process
  LogLimit accept_log_;           // of what is no client's fault
  uint64_t next_id_ = 1;          // of ports and connections
  uint64_t next_session_ = 1;
  uint64_t next_lane_id_ = 1;
  std::map<uint64_t, std::shared_ptr<Port>> ports_;
  std::set<std::pair<Deadline, uint64_t>> timers_;

  // Changed by the keeper alone, with the mutex held; read by others with it.
  mutable std::mutex table_mutex_;
  std::map<uint64_t, Connection> connections_;
};

}  // namespace prism::vrpc
