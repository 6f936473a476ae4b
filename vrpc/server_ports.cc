#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vrpc/handshake.h"
#include "vrpc/ring.h"
#include "vrpc/server_impl.h"

namespace prism::vrpc {
namespace {

constexpr int kAcceptsInARow = 16;
constexpr auto kAcceptPause = std::chrono::milliseconds(50);  // when descriptors have run out
constexpr uint32_t kEndOfSocket = EPOLLIN | EPOLLRDHUP;

// The end has come, or the peer has said what it must not.
bool HasEnded(int socket_fd) {
  char byte;
  ssize_t got = ::recv(socket_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got >= 0 || (errno != EAGAIN && errno != EINTR);
}

void LogLimited(LogLimit& limit, spdlog::level::level_enum level, std::string line) {
  std::optional<uint64_t> left_out = limit.Allow(NowNs());
  if (!left_out) return;
  if (*left_out > 0) line += fmt::format(" (and {} lines before)", *left_out);
  spdlog::log(level, line);
}

}  // namespace

void Server::Impl::Log(Port& port, spdlog::level::level_enum level, std::string line) {
  if (port.options.single || level >= spdlog::level::warn)
    LogLimited(port.log, level, std::move(line));
  else
    spdlog::log(level, line);
}

Outcome<void> Server::Impl::OpenPort(PortOptions options) {
  if (!options.geometry.Valid())
    return Explain(Err::kInvalid, "port '{}' cannot have {} lanes of {} queues", options.name,
                   options.geometry.lanes, options.geometry.queues);
  for (const auto& [id, port] : ports_)
    if (port->options.name == options.name)
      return Explain(Err::kExists, "there is a port '{}' already", options.name);
  auto port = std::make_shared<Port>();
  PRISM_ASSIGN(port->listener, ListenAt(options.path, options.uid));
  port->id = next_id_++;
  port->options = std::move(options);
  if (!Watch(port->listener.get(), TokenOf(port->id, kSocketPart), EPOLLIN))
    return ExplainErrno(errno, "cannot watch the listening socket");
  ports_[port->id] = std::move(port);
  return {};
}

void Server::Impl::ClosePort(uint64_t id, bool handover) {
  std::shared_ptr<Port> port = ports_[id];
  ::unlink(port->options.path.c_str());
  std::vector<uint64_t> ends;
  for (const auto& [connection_id, connection] : connections_)
    if (connection.port == port) ends.push_back(connection_id);
  for (uint64_t end : ends) EndConnection(end, handover && port->options.fd_keeper != nullptr);
  ports_.erase(id);
}

void Server::Impl::Accept(Port& port) {
  const uint64_t token = TokenOf(port.id, kSocketPart);
  for (int i = 0; i < kAcceptsInARow; ++i) {
    Deadline now = std::chrono::steady_clock::now();
    if (port.options.single && now < port.accepts.next()) {
      Rewatch(port.listener.get(), token, 0);
      return SetTimer(port.accepts.next(), token);
    }
    UniqueFd socket(::accept4(port.listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      port.accepts.Take(now);
      Admit(ports_[port.id], std::move(socket));
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      LogLimited(accept_log_, spdlog::level::err,
                 fmt::format("cannot accept a client at port '{}': {}", port.options.name,
                             std::strerror(errno)));
      Rewatch(port.listener.get(), token, 0);
      return SetTimer(now + kAcceptPause, token);
    }
  }
}

// Whether a client may come in.
Err Server::Impl::Judge(const Port& port, const Peer& peer) {
  if (peer.uid != port.options.uid && peer.uid != 0) return Err::kAccess;
  if (port.options.single) {
    Connection* other = ConnectionOf(port);
    if (other != nullptr && !HasEnded(other->socket.get())) return Err::kBusy;
    if (other != nullptr) EndConnection(other->id, false);
    return Err::kOk;
  }
  return HasRoom(port, peer) ? Err::kOk : Err::kAgain;
}

bool Server::Impl::HasRoom(const Port& port, const Peer& peer) const {
  const uint64_t channel_descriptors = 2 + 2 * port.options.geometry.vectors();
  const uint64_t most =
      std::min<uint64_t>(options_.channels_max, descriptors_max_ / 2 / channel_descriptors);
  uint64_t all = 0;
  uint64_t of_process = 0;
  for (const auto& [id, connection] : connections_) {
    if (connection.port->options.single) continue;
    ++all;
    if (connection.peer.pid == peer.pid) ++of_process;
  }
  return all < most && of_process < std::max<uint64_t>(most / 2, 1);
}

void Server::Impl::Admit(const std::shared_ptr<Port>& port, UniqueFd socket) {
  Outcome<Peer> peer = PeerOf(socket.get());
  if (!peer) return;
  Err refusal = Judge(*port, *peer);
  if (refusal == Err::kOk) {
    Outcome<std::shared_ptr<Channel>> channel =
        Channel::Create(port->options.geometry, SignallerFor(*port));
    if (channel) {
      Connection* connection = Connect(port, std::move(socket), *peer, std::move(*channel), false);
      if (connection != nullptr) Announce(*connection);
      return;
    }
    Log(*port, spdlog::level::err,
        fmt::format("no channel for pid {} at port '{}': {}", peer->pid, port->options.name,
                    channel.error().message));
    refusal = Err::kAgain;
  }
  Log(*port, spdlog::level::warn,
      fmt::format("port '{}' refuses pid {} of uid {}: {}", port->options.name, peer->pid,
                  peer->uid, NameOf(refusal)));
  SendMessage(socket.get(), RefusalFor(refusal), -1);
}

// Makes the connection and the epochs of its lanes; nullptr: it cannot be watched.
Server::Impl::Connection* Server::Impl::Connect(const std::shared_ptr<Port>& port, UniqueFd socket,
                                                const Peer& peer, std::shared_ptr<Channel> channel,
                                                bool adopted) {
  Connection made;
  made.id = next_id_++;
  if (!Watch(socket.get(), TokenOf(made.id, kSocketPart), kEndOfSocket)) return nullptr;
  made.port = port;
  made.socket = std::move(socket);
  made.peer = peer;
  made.client_id = port->options.single ? 1 : port->next_client_id++ % 65535 + 1;
  made.channel = std::move(channel);
  made.idle_since = std::chrono::steady_clock::now();
  made.slots.resize(port->options.geometry.lanes);
  for (uint32_t i = 0; i < made.slots.size(); ++i) {
    Slot& slot = made.slots[i];
    slot.info.id = next_lane_id_++;
    slot.info.port = port->options.name;
    slot.info.lane = i;
    slot.info.pid = peer.pid;
    slot.info.uid = peer.uid;
    // Of an adopted one: a Hello before this load is of an older epoch; it will be said again.
    slot.seen_seq = Shared(made.channel->lane(i).control()->hello_seq).load();
    slot.epoch = RandomNumber();
    PutEpoch(made.channel->lane(i), slot.epoch);
    if (adopted) made.channel->RingAll(i);
  }
  if (!port->options.single)
    SetTimer(made.idle_since + std::chrono::milliseconds(options_.hello_timeout_ms),
             TokenOf(made.id, kSocketPart));
  std::lock_guard lock(table_mutex_);
  uint64_t id = made.id;
  return &connections_.emplace(id, std::move(made)).first->second;
}

Outcome<void> Server::Impl::AdoptNow(const std::string& name, ChannelFds fds) {
  for (const auto& [id, port] : ports_) {
    if (port->options.name != name || !port->options.single) continue;
    if (ConnectionOf(*port) != nullptr)
      return Explain(Err::kBusy, "port '{}' has a client already", name);
    Outcome<Peer> peer = PeerOf(fds.socket.get());
    if (!peer) return Explain(Err::kInvalid, "{}", peer.error().message);
    if (HasEnded(fds.socket.get()))
      return Explain(Err::kDisconnected, "the client of port '{}' has gone", name);
    PRISM_ASSIGN(
        std::shared_ptr<Channel> channel,
        Channel::Adopt(port->options.geometry, std::move(fds.memory), std::move(fds.to_server),
                       std::move(fds.to_client), SignallerFor(*port)));
    Connection* connection = Connect(port, std::move(fds.socket), *peer, std::move(channel), true);
    if (connection == nullptr || !OpenLanes(*connection))
      return Explain(Err::kIo, "cannot watch the channel of port '{}'", name);
    spdlog::info("port '{}': goes on with pid {}", name, peer->pid);
    return {};
  }
  return Explain(Err::kNoEntry, "there is no port '{}' that could adopt a channel", name);
}

void Server::Impl::Announce(Connection& connection) {
  const uint64_t token = TokenOf(connection.id, kSocketPart);
  Sent sent = connection.channel->Announce(connection.socket.get(), connection.client_id,
                                           connection.announced);
  if (sent == Sent::kNothing)
    return Rewatch(connection.socket.get(), token, kEndOfSocket | EPOLLOUT);
  if (sent == Sent::kGone) return EndConnection(connection.id, false);
  Rewatch(connection.socket.get(), token, kEndOfSocket);
  OpenLanes(connection);
}

// The client knows all: its Hellos are heard from now on. False: the connection is over.
bool Server::Impl::OpenLanes(Connection& connection) {
  const Channel& channel = *connection.channel;
  for (uint32_t i = 0; i < connection.slots.size(); ++i) {
    int bell = channel.doorbell(channel.geometry().handshake_vector(i));
    if (Watch(bell, TokenOf(connection.id, i), EPOLLIN | EPOLLONESHOT)) continue;
    spdlog::error("cannot watch a doorbell: {}", std::strerror(errno));
    EndConnection(connection.id, false);
    return false;
  }
  connection.open = true;
  const PortOptions& port = connection.port->options;
  if (port.single && port.fd_keeper != nullptr)
    port.fd_keeper->Put(port.name, channel.Numbers(connection.socket.get()));
  return true;
}

void Server::Impl::OnSocket(Connection& connection, uint32_t events) {
  // A channel's socket says nothing until it ends; and whatever it says is its end.
  if ((events & ~uint32_t{EPOLLOUT}) != 0) return EndConnection(connection.id, false);
  if (!connection.open) Announce(connection);
}

void Server::Impl::CheckIdle(Connection& connection) {
  for (const Slot& slot : connection.slots)
    if (slot.session != 0) return;
  Deadline end = connection.idle_since + std::chrono::milliseconds(options_.hello_timeout_ms);
  if (end > std::chrono::steady_clock::now())
    return SetTimer(end, TokenOf(connection.id, kSocketPart));
  EndConnection(connection.id, false);
}

Server::Impl::Connection* Server::Impl::ConnectionOf(const Port& port) {
  for (auto& [id, connection] : connections_)
    if (connection.port.get() == &port) return &connection;
  return nullptr;
}

// handover: the channel lives on, for the next server.
void Server::Impl::EndConnection(uint64_t id, bool handover) {
  Connection& connection = connections_.at(id);
  const Channel& channel = *connection.channel;
  Unwatch(connection.socket.get());
  for (uint32_t i = 0; i < connection.slots.size(); ++i) {
    Unwatch(channel.doorbell(channel.geometry().handshake_vector(i)));
    if (connection.slots[i].session != 0 && !connection.slots[i].ending) EndSession(connection, i);
    if (!handover) NewEpoch(connection, i);
  }
  if (!handover) {
    ::shutdown(connection.socket.get(), SHUT_RDWR);
    const PortOptions& port = connection.port->options;
    if (connection.open && port.single && port.fd_keeper != nullptr)
      port.fd_keeper->Remove(port.name);
  }
  std::lock_guard lock(table_mutex_);
  connections_.erase(id);
}

}  // namespace prism::vrpc
