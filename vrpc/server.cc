#include "vrpc/server.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>

#include "vrpc/server_impl.h"

namespace prism::vrpc {

Outcome<void> Server::Impl::Start() {
  PRISM_ASSIGN(inbox_, Inbox::Make());
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return ExplainErrno(errno, "cannot make an epoll set");
  if (!Watch(inbox_->fd(), kInboxToken, EPOLLIN))
    return ExplainErrno(errno, "cannot watch an eventfd");
  if (Outcome<std::unique_ptr<Signaller>> signaller = Signaller::Make())
    signaller_ = std::move(*signaller);
  else
    spdlog::warn("a virtual machine can make its server wait: {}", signaller.error().message);
  rlimit descriptors{};
  if (::getrlimit(RLIMIT_NOFILE, &descriptors) != 0)
    return ExplainErrno(errno, "cannot tell how many descriptors there may be");
  descriptors_max_ = descriptors.rlim_cur;
  PRISM_ASSIGN(pool_, WorkerPool::Start(std::max(options_.workers, 1u)));
  keeper_ = std::thread([this] { Keep(); });
  ::pthread_setname_np(keeper_.native_handle(), "vrpc-keeper");
  return {};
}

void Server::Impl::Stop() {
  std::lock_guard lock(stop_mutex_);
  if (!keeper_.joinable()) return;
  inbox_->Post([this] { stopping_ = true; });
  keeper_.join();
  while (!ports_.empty()) ClosePort(ports_.begin()->first, true);
  pool_->Stop();
}

// False: the server has stopped.
bool Server::Impl::RunOnKeeper(const std::function<void()>& task) {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  bool posted = inbox_->Post([&] {
    task();
    std::lock_guard lock(mutex);
    done = true;
    changed.notify_one();
  });
  if (!posted) return false;
  std::unique_lock lock(mutex);
  changed.wait(lock, [&] { return done; });
  return true;
}

Outcome<void> Server::Impl::AddPort(PortOptions options) {
  Outcome<void> outcome = Explain(Err::kDisconnected, "the server has stopped");
  RunOnKeeper([&] { outcome = OpenPort(std::move(options)); });
  return outcome;
}

bool Server::Impl::RemovePort(const std::string& name) {
  bool found = false;
  RunOnKeeper([&] {
    for (const auto& [id, port] : ports_) {
      if (port->options.name != name) continue;
      found = true;
      return ClosePort(id, false);
    }
  });
  return found;
}

Outcome<void> Server::Impl::Adopt(const std::string& port, ChannelFds fds) {
  Outcome<void> outcome = Explain(Err::kDisconnected, "the server has stopped");
  RunOnKeeper([&] { outcome = AdoptNow(port, std::move(fds)); });
  return outcome;
}

bool Server::Impl::Drop(uint64_t lane_id) {
  bool dropped = false;
  RunOnKeeper([&] {
    for (auto& [id, connection] : connections_)
      for (uint32_t i = 0; i < connection.slots.size(); ++i) {
        Slot& slot = connection.slots[i];
        if (slot.info.id != lane_id || slot.session == 0 || slot.ending) continue;
        DropSession(connection, i, "by request");
        dropped = true;
      }
  });
  return dropped;
}

std::vector<LaneInfo> Server::Impl::Lanes() const {
  std::vector<LaneInfo> infos;
  std::vector<std::shared_ptr<Lane>> lanes;  // let go without the lock: they may be the last
  std::lock_guard lock(table_mutex_);
  for (const auto& [id, connection] : connections_)
    for (const Slot& slot : connection.slots) {
      if (!slot.listed) continue;
      LaneInfo& info = infos.emplace_back(slot.info);
      std::shared_ptr<Lane> lane = slot.lane.lock();
      if (lane == nullptr) continue;
      info.attached = !lane->dead();
      lane->Describe(info);
      lanes.push_back(std::move(lane));
    }
  return infos;
}

std::vector<ConnectionInfo> Server::Impl::Connections() const {
  std::vector<ConnectionInfo> infos;
  std::lock_guard lock(table_mutex_);
  for (const auto& [id, connection] : connections_)
    infos.push_back({connection.port->options.name, connection.peer.pid, connection.peer.uid});
  return infos;
}

bool Server::Impl::Watch(int fd, uint64_t token, uint32_t events) const {
  epoll_event event{.events = events, .data = {.u64 = token}};
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Server::Impl::Rewatch(int fd, uint64_t token, uint32_t events) const {
  epoll_event event{.events = events, .data = {.u64 = token}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
}

// Closing would not do: others have the same files open, which keeps them in the set.
void Server::Impl::Unwatch(int fd) const { ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Server::Impl::Keep() {
  while (!stopping_) {
    epoll_event event{};
    int count = ::epoll_wait(epoll_.get(), &event, 1, NextTimeoutMs());
    RunTimers();
    if (count < 1) continue;
    if (event.data.u64 != kInboxToken)
      Dispatch(event.data.u64, event.events);
    else
      for (Inbox::Task& task : inbox_->Take()) task();
  }
  for (Inbox::Task& task : inbox_->Take(true)) task();
}

int Server::Impl::NextTimeoutMs() const {
  return timers_.empty() ? -1 : RemainingMs(timers_.begin()->first) + 1;
}

void Server::Impl::RunTimers() {
  if (timers_.empty()) return;
  const Deadline now = std::chrono::steady_clock::now();
  while (!timers_.empty() && timers_.begin()->first <= now) {
    uint64_t token = timers_.begin()->second;
    timers_.erase(timers_.begin());
    const uint64_t id = token >> 8;
    const auto part = static_cast<uint32_t>(token & 255);
    if (auto port = ports_.find(id); port != ports_.end())
      Rewatch(port->second->listener.get(), token, EPOLLIN);
    auto connection = connections_.find(id);
    if (connection == connections_.end()) continue;
    if (part == kSocketPart)
      CheckIdle(connection->second);
    else
      RearmHelloBell(connection->second, part);
  }
}

void Server::Impl::Dispatch(uint64_t token, uint32_t events) {
  const uint64_t id = token >> 8;
  const auto part = static_cast<uint32_t>(token & 255);
  if (auto port = ports_.find(id); port != ports_.end()) return Accept(*port->second);
  auto connection = connections_.find(id);
  if (connection == connections_.end()) return;
  if (part == kSocketPart)
    OnSocket(connection->second, events);
  else
    OnHelloBell(connection->second, part);
}

std::vector<int> ChannelFds::Numbers() const {
  std::vector<int> numbers = {socket.get(), memory.get()};
  for (const UniqueFd& fd : to_server) numbers.push_back(fd.get());
  for (const UniqueFd& fd : to_client) numbers.push_back(fd.get());
  return numbers;
}

Outcome<ChannelFds> ChannelFds::FromList(std::vector<UniqueFd> fds) {
  if (fds.size() < 4 || fds.size() % 2 != 0)
    return Explain(Err::kInvalid, "{} descriptors are not a channel", fds.size());
  ChannelFds channel;
  channel.socket = std::move(fds[0]);
  channel.memory = std::move(fds[1]);
  const size_t vectors = (fds.size() - 2) / 2;
  for (size_t i = 0; i < vectors; ++i) {
    channel.to_server.push_back(std::move(fds[2 + i]));
    channel.to_client.push_back(std::move(fds[2 + vectors + i]));
  }
  return channel;
}

Outcome<std::unique_ptr<Server>> Server::Start(const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  PRISM_TRY(impl->Start());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;
Outcome<void> Server::AddPort(PortOptions options) { return impl_->AddPort(std::move(options)); }
bool Server::RemovePort(const std::string& name) { return impl_->RemovePort(name); }
Outcome<void> Server::Adopt(const std::string& port, ChannelFds fds) {
  return impl_->Adopt(port, std::move(fds));
}
void Server::Stop() { impl_->Stop(); }
bool Server::Drop(uint64_t lane_id) { return impl_->Drop(lane_id); }
std::vector<LaneInfo> Server::Lanes() const { return impl_->Lanes(); }
std::vector<ConnectionInfo> Server::Connections() const { return impl_->Connections(); }

}  // namespace prism::vrpc
