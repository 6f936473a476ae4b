#include "vrpc/server.h"

#include <fcntl.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <thread>

#include "vrpc/doorbell.h"
#include "vrpc/handshake.h"
#include "vrpc/lane.h"
#include "vrpc/worker_pool.h"

namespace prism::vrpc {
namespace {

constexpr size_t kGreetingsMax = 256;  // connections that have not said hello yet
constexpr auto kAcceptPause = std::chrono::milliseconds(50);  // when descriptors have run out

}  // namespace

// One thread, the keeper, accepts, greets and notices deaths; the pool serves.
class Server::Impl {
 public:
  Impl(std::string path, Opener opener, const ServerOptions& options)
      : path_(std::move(path)), opener_(std::move(opener)), options_(options) {}
  ~Impl() { Stop(); }

  Outcome<void> Start();
  void Stop();
  bool Drop(uint64_t lane_id);
  std::vector<LaneInfo> Lanes() const;

 private:
  // A connection: first one that has still to say hello, then a lane's lifeline.
  struct Connection {
    UniqueFd socket;
    Peer peer;
    Hello hello{};
    size_t hello_bytes = 0;
    Deadline deadline;
    bool is_lane = false;
  };
  // Tokens of the keeper's epoll set; connections count up from the last.
  enum Token : uint64_t { kListener = 1, kStop = 2, kFirstConnection = 16 };

  void Keep();
  int NextTimeoutMs() const;
  void CloseLateGreetings();
  void Accept();
  void Admit(UniqueFd socket);
  void OnConnection(uint64_t token);
  bool ReadHello(Connection& connection);
  Outcome<void> OpenLane(uint64_t token, Connection& connection);
  void EndConnection(uint64_t token);
  bool Watch(int fd, uint64_t token) const;

  const std::string path_;
  const Opener opener_;
  const ServerOptions options_;
  UniqueFd listener_;
  UniqueFd stop_;
  UniqueFd epoll_;
  std::unique_ptr<WorkerPool> pool_;
  std::mutex stop_mutex_;
  std::thread keeper_;
  // The keeper's own.
  std::map<uint64_t, Connection> connections_;  // a lane has its connection's token as its id
  uint64_t next_token_ = kFirstConnection;
  size_t greetings_ = 0;
};

Outcome<void> Server::Impl::Start() {
  PRISM_ASSIGN(stop_, MakeDoorbell());
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return ExplainErrno(errno, "cannot make an epoll set");
  PRISM_ASSIGN(pool_, WorkerPool::Start(std::max(options_.workers, 1u)));
  PRISM_ASSIGN(listener_, ListenAt(path_));
  if (!Watch(stop_.get(), kStop) || !Watch(listener_.get(), kListener))
    return ExplainErrno(errno, "cannot watch the listening socket");
  keeper_ = std::thread([this] { Keep(); });
  ::pthread_setname_np(keeper_.native_handle(), "vrpc-keeper");
  return {};
}

void Server::Impl::Stop() {
  std::lock_guard lock(stop_mutex_);
  if (keeper_.joinable()) {
    Ring(stop_.get());
    keeper_.join();
  }
  if (listener_) {
    ::unlink(path_.c_str());
    listener_.Reset();
  }
  if (pool_ == nullptr) return;
  for (const auto& lane : pool_->All()) lane->Close();
  pool_->Stop();
  for (const auto& lane : pool_->All()) pool_->Remove(lane->id());
  connections_.clear();
}

bool Server::Impl::Drop(uint64_t lane_id) {
  std::shared_ptr<Lane> lane = pool_->Find(lane_id);
  return lane != nullptr && lane->Close();  // the keeper does the rest
}

std::vector<LaneInfo> Server::Impl::Lanes() const {
  std::vector<LaneInfo> infos;
  for (const auto& lane : pool_->All())
    if (!lane->dead()) infos.push_back(lane->Info());
  return infos;
}

bool Server::Impl::Watch(int fd, uint64_t token) const {
  epoll_event event{.events = EPOLLIN | EPOLLRDHUP, .data = {.u64 = token}};
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

void Server::Impl::Keep() {
  for (;;) {
    epoll_event event{};
    int count = ::epoll_wait(epoll_.get(), &event, 1, NextTimeoutMs());
    CloseLateGreetings();
    if (count < 1) continue;
    if (event.data.u64 == kStop) return;
    if (event.data.u64 == kListener)
      Accept();
    else
      OnConnection(event.data.u64);
  }
}

int Server::Impl::NextTimeoutMs() const {
  // Coarse on purpose: a greeting is closed up to a second late.
  return greetings_ == 0 ? -1 : 1000;
}

void Server::Impl::CloseLateGreetings() {
  if (greetings_ == 0) return;
  auto now = std::chrono::steady_clock::now();
  std::vector<uint64_t> late;
  for (const auto& [token, connection] : connections_)
    if (!connection.is_lane && connection.deadline < now) late.push_back(token);
  for (uint64_t token : late) EndConnection(token);
}

void Server::Impl::Accept() {
  for (;;) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (socket) {
      Admit(std::move(socket));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN) return;
    spdlog::error("cannot accept a lane: {}", std::strerror(errno));
    std::this_thread::sleep_for(kAcceptPause);
    return;
  }
}

void Server::Impl::Admit(UniqueFd socket) {
  Outcome<Peer> peer = PeerOf(socket.get());
  if (!peer) return;
  if (peer->uid != ::geteuid() && peer->uid != 0) {
    spdlog::warn("a lane is refused to uid {} (pid {})", peer->uid, peer->pid);
    SendRefusal(socket.get(), {Err::kAccess, "only the server's own user and root may connect"});
    return;
  }
  if (connections_.size() - greetings_ >= options_.lanes_max || greetings_ >= kGreetingsMax) {
    SendRefusal(socket.get(),
                {Err::kAgain, fmt::format("the server has {} lanes, at most {} are allowed",
                                          connections_.size() - greetings_, options_.lanes_max)});
    return;
  }
  uint64_t token = next_token_++;
  if (!Watch(socket.get(), token)) return;
  Connection& connection = connections_[token];
  connection.socket = std::move(socket);
  connection.peer = *peer;
  connection.deadline =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.hello_timeout_ms);
  ++greetings_;
}

void Server::Impl::OnConnection(uint64_t token) {
  auto found = connections_.find(token);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  // A lane's socket says nothing until it ends; and whatever it says is its end.
  if (connection.is_lane || !ReadHello(connection)) return EndConnection(token);
  if (connection.hello_bytes < sizeof connection.hello) return;
  Outcome<void> opened = OpenLane(token, connection);
  if (opened) return;
  spdlog::info("a lane is refused to pid {}: {}", connection.peer.pid, opened.error().message);
  SendRefusal(connection.socket.get(), opened.error());
  EndConnection(token);
}

bool Server::Impl::ReadHello(Connection& connection) {
  char* bytes = reinterpret_cast<char*>(&connection.hello);
  ssize_t got = ::recv(connection.socket.get(), bytes + connection.hello_bytes,
                       sizeof connection.hello - connection.hello_bytes, MSG_DONTWAIT);
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  connection.hello_bytes += static_cast<size_t>(got);
  return got > 0;
}

Outcome<void> Server::Impl::OpenLane(uint64_t token, Connection& connection) {
  const Hello& hello = connection.hello;
  PRISM_TRY(CheckHello(hello));
  Lane::Origin origin{.id = token,
                      .volume = std::string(hello.volume, hello.volume_bytes),
                      .importing = (hello.flags & kHelloImporting) != 0,
                      .peer = connection.peer};
  PRISM_ASSIGN(std::shared_ptr<fs::FileSystem> fs, opener_(origin.volume, origin.importing));
  Geometry geometry;
  geometry.queues = std::clamp(options_.queues, 1u, kQueuesMax);
  if (hello.queues != 0) geometry.queues = std::min(geometry.queues, hello.queues);
  // The lane gets a descriptor of its own for the lifeline, so that a failure below can still be
  // told through this one.
  UniqueFd lifeline(::fcntl(connection.socket.get(), F_DUPFD_CLOEXEC, 0));
  if (!lifeline) return ExplainErrno(errno, "cannot keep the connection");
  PRISM_ASSIGN(std::shared_ptr<Lane> lane,
               Lane::Create(std::move(origin), geometry, std::move(fs), std::move(lifeline),
                            uint64_t{options_.spin_us_max} * 1000));
  PRISM_TRY(pool_->Add(lane));
  SendWelcome(connection.socket.get(), lane->segment().fd(), lane->segment().bytes(), lane->fds());
  connection.is_lane = true;
  --greetings_;
  spdlog::info("lane {}: volume '{}' for pid {}", token, lane->origin().volume,
               connection.peer.pid);
  return {};
}

void Server::Impl::EndConnection(uint64_t token) {
  auto found = connections_.find(token);
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second.socket.get(), nullptr);
  if (!found->second.is_lane) --greetings_;
  connections_.erase(found);
  std::shared_ptr<Lane> lane = pool_->Remove(token);
  if (lane == nullptr) return;
  lane->Close();
  spdlog::info("lane {} ends: volume '{}'", token, lane->origin().volume);
}

Outcome<std::unique_ptr<Server>> Server::Listen(const std::string& path, Opener opener,
                                                const ServerOptions& options) {
  auto impl = std::make_unique<Impl>(path, std::move(opener), options);
  PRISM_TRY(impl->Start());
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Server::~Server() = default;
void Server::Stop() { impl_->Stop(); }
bool Server::Drop(uint64_t lane_id) { return impl_->Drop(lane_id); }
std::vector<LaneInfo> Server::Lanes() const { return impl_->Lanes(); }

}  // namespace prism::vrpc
