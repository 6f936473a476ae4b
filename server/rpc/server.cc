#include "server/rpc/server.h"

#include <pthread.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>

#include "fs/base/check.h"
#include "fs/base/log_limit.h"
#include "server/rpc/connection_table.h"
#include "server/rpc/dispatcher.h"
#include "server/rpc/follower.h"
#include "server/rpc/seats.h"
#include "server/rpc/socket.h"

namespace prism::rpc {
namespace {

// The tokens of the epoll set that are no connection's.
constexpr uint64_t kStopToken = 0;
constexpr uint64_t kListenToken = 1;
constexpr uint64_t kTimerToken = 2;

// A worker with a busy connection goes to another one that waits after this much.
constexpr uint32_t kTurnRecords = 32;
constexpr size_t kTurnBytes = 1 << 20;
constexpr uint32_t kFlushRecords = 16;  // replies that may wait to be sent together
constexpr int kAcceptsAtOnce = 16;
constexpr uint64_t kMs = 1'000'000;  // in ns

constexpr uint64_t kSweepMs = 1000;
constexpr uint64_t kSweepMinMs = 20;

}  // namespace

class RpcServer::Impl {
 public:
  explicit Impl(RpcOptions options)
      : options_(std::move(options)),
        table_(options_, counters_),
        seats_(std::max(1u, options_.workers)),
        dispatcher_(options_, counters_, seats_) {}
  ~Impl() { Stop(); }

  Outcome<void> Start();
  void Stop();
  const PeerAddress& address() const { return address_; }
  RpcStats Stats() const;

 private:
  Outcome<void> WatchOwn(int fd, uint64_t token, uint32_t events);
  void Arm(int fd, uint64_t token);
  void Work(Seat& seat);
  void Handle(Seat& seat, Follower& follower, const epoll_event& event);
  // Returns the number of records that it has come to.
  uint32_t Serve(Seat& seat, const std::shared_ptr<Connection>& connection);
  // False: the reading role has gone.
  bool ServeRecords(Seat& seat, const std::shared_ptr<Connection>& connection, uint32_t& records);
  // False: the connection has been closed. drained: no more bytes wait in the socket.
  bool Receive(const std::shared_ptr<Connection>& connection, size_t& received_bytes,
               bool& drained);
  void Accept();
  void Sweep();
  void SweepOne(const std::shared_ptr<Connection>& connection, uint64_t now_ns);
  // Closes with a line in the log (at a bounded rate), or without if `why` is empty.
  void Close(const std::shared_ptr<Connection>& connection, std::string_view why);
  void SetSweep();

  const RpcOptions options_;
  Counters counters_;
  UniqueFd epoll_;  // goes after the connections
  UniqueFd stop_;
  UniqueFd timer_;
  UniqueFd listener_;
  PeerAddress address_;
  ConnectionTable table_;
  Seats seats_;
  Dispatcher dispatcher_;
  LogLimit log_;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> accept_paused_ = false;
  std::vector<std::thread> threads_;
};

Outcome<void> RpcServer::Impl::Start() {
  PRISM_ASSIGN(const PeerAddress wanted, ParseEndpoint(options_.listen));
  PRISM_ASSIGN(listener_, ListenAt(wanted, address_));
  epoll_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  stop_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  timer_ = UniqueFd(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!epoll_ || !stop_ || !timer_) return ExplainErrno(errno, "cannot make an epoll set");
  PRISM_TRY(WatchOwn(stop_.get(), kStopToken, EPOLLIN));
  PRISM_TRY(WatchOwn(timer_.get(), kTimerToken, EPOLLIN | EPOLLONESHOT));
  PRISM_TRY(WatchOwn(listener_.get(), kListenToken, EPOLLIN | EPOLLONESHOT));
  PRISM_TRY(seats_.Start(epoll_.get(), stop_.get()));
  SetSweep();
  for (uint32_t i = 0; i < std::max(1u, options_.workers); ++i) {
    threads_.emplace_back([this, i] { Work(seats_.seat(i)); });
    ::pthread_setname_np(threads_.back().native_handle(), "rpc-worker");
  }
  return {};
}

void RpcServer::Impl::Stop() {
  if (stopping_.exchange(true)) return;
  const uint64_t one = 1;
  if (stop_) PRISM_CHECK(::write(stop_.get(), &one, sizeof one) == sizeof one);  // never reset
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  seats_.Stop();
  listener_.Reset();
  for (const auto& connection : table_.All()) Close(connection, {});
}

Outcome<void> RpcServer::Impl::WatchOwn(int fd, uint64_t token, uint32_t events) {
  epoll_event event{.events = events, .data = {.u64 = token}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return ExplainErrno(errno, "cannot watch a socket");
}

void RpcServer::Impl::Arm(int fd, uint64_t token) {
  epoll_event event{.events = EPOLLIN | EPOLLONESHOT, .data = {.u64 = token}};
  PRISM_CHECK(::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) == 0);
}

void RpcServer::Impl::Work(Seat& seat) {
  Follower follower;
  while (!stopping_.load(std::memory_order_relaxed)) {
    epoll_event event{};
    if (!seats_.Next(seat, event)) continue;
    Handle(seat, follower, event);
    seats_.Done(seat);
  }
}

void RpcServer::Impl::Handle(Seat& seat, Follower& follower, const epoll_event& event) {
  switch (event.data.u64) {
    case kStopToken:
      return;
    case kListenToken:
      return Accept();
    case kTimerToken:
      return Sweep();
  }
  const std::shared_ptr<Connection> connection = table_.Find(event.data.u64);
  if (connection == nullptr) return;  // it went between its event and now
  const Connection::Duty duty = connection->Take(event.events);
  if (duty.write) connection->Resume();
  if (!duty.read) return;
  const uint32_t records = Serve(seat, connection);
  follower.Served(connection->id(), connection->fd(), records);
}

uint32_t RpcServer::Impl::Serve(Seat& seat, const std::shared_ptr<Connection>& connection) {
  RecordReader& input = connection->input();
  uint32_t records = 0;
  size_t received_bytes = 0;
  bool drained = false;
  for (;;) {
    if (!ServeRecords(seat, connection, records)) return records;
    const bool turn_over =
        (records >= kTurnRecords || received_bytes >= kTurnBytes) && !seats_.OthersWait();
    if (drained || turn_over || connection->output_blocked() || input.Pending()) break;
    connection->Flush();
    if (!Receive(connection, received_bytes, drained)) return records;
  }
  // In this order: a client's next call then finds its socket watched, and this thread asleep, and
  // no other is woken for it.
  connection->Release(input.Pending());
  connection->Flush();
  return records;
}

bool RpcServer::Impl::ServeRecords(Seat& seat, const std::shared_ptr<Connection>& connection,
                                   uint32_t& records) {
  RecordReader& input = connection->input();
  for (uint32_t unflushed = 0;;) {
    switch (input.Poll()) {
      case RecordReader::State::kNeedMore:
        return true;
      case RecordReader::State::kBroken:
        counters_.connections_broken.Add();
        Close(connection, input.why());
        return false;
      case RecordReader::State::kRecord:
        break;
    }
    if (connection->output_blocked() || stopping_.load(std::memory_order_relaxed)) return true;
    if (++records > kTurnRecords && !seats_.OthersWait()) return true;
    switch (dispatcher_.Serve(seat, connection)) {
      case Dispatcher::Served::kReleased:
        return false;
      case Dispatcher::Served::kBroken:
        counters_.connections_broken.Add();
        Close(connection, "a record that is not a call");
        return false;
      case Dispatcher::Served::kDone:
        break;
    }
    if (++unflushed % kFlushRecords == 0) connection->Flush();
  }
}

bool RpcServer::Impl::Receive(const std::shared_ptr<Connection>& connection, size_t& received_bytes,
                              bool& drained) {
  RecordReader& input = connection->input();
  const std::span<std::byte> space = input.Space();
  const ssize_t got = ::recv(connection->fd(), space.data(), space.size(), MSG_DONTWAIT);
  if (got > 0) {
    input.Filled(static_cast<size_t>(got));
    counters_.bytes_in.Add(static_cast<uint64_t>(got));
    received_bytes += static_cast<size_t>(got);
    drained = static_cast<size_t>(got) < space.size();
    return true;
  }
  if (got == 0) {
    Close(connection, input.mid_record() ? "it ended in the middle of a record" : "");
    return false;
  }
  if (errno == EINTR) return true;
  if (errno != EAGAIN) {
    Close(connection, input.mid_record() ? std::strerror(errno) : "");
    return false;
  }
  drained = true;
  return true;
}

void RpcServer::Impl::Accept() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    UniqueFd fd(::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&storage), &length,
                          SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (fd) {
      std::shared_ptr<Connection> evicted;
      table_.Add(std::move(fd), FromSockaddr(storage), epoll_.get(), evicted);
      if (evicted != nullptr) Close(evicted, "its client has opened too many others");
      continue;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      if (auto left_out = log_.Allow(CoarseNowNs()))
        spdlog::error("rpc: cannot take a connection: {} (and {} more)", std::strerror(errno),
                      *left_out);
      accept_paused_ = true;  // the next sweep tries again
      return;
    }
    if (errno == EAGAIN) break;  // others mean that a connection went before it was taken
  }
  Arm(listener_.get(), kListenToken);
}

void RpcServer::Impl::SetSweep() {
  const uint64_t shortest_ms =
      std::min({options_.idle_timeout_ms, options_.record_timeout_ms, options_.send_timeout_ms});
  const uint64_t ns = std::clamp(shortest_ms / 4, kSweepMinMs, kSweepMs) * kMs;
  itimerspec time{};
  time.it_value = {static_cast<time_t>(ns / (1000 * kMs)), static_cast<long>(ns % (1000 * kMs))};
  PRISM_CHECK(::timerfd_settime(timer_.get(), 0, &time, nullptr) == 0);
}

void RpcServer::Impl::Sweep() {
  const uint64_t now_ns = CoarseNowNs();
  for (const auto& connection : table_.All()) SweepOne(connection, now_ns);
  if (accept_paused_.exchange(false)) Arm(listener_.get(), kListenToken);
  SetSweep();
  Arm(timer_.get(), kTimerToken);
}

void RpcServer::Impl::SweepOne(const std::shared_ptr<Connection>& connection, uint64_t now_ns) {
  std::string_view why;
  switch (connection->Check(now_ns)) {
    case Connection::Overdue::kNothing:
      return;
    case Connection::Overdue::kCalls:
      break;
    case Connection::Overdue::kRecord:
      why = "it does not finish a record";
      break;
    case Connection::Overdue::kSend:
      why = "it does not take its replies";
      break;
  }
  counters_.connections_expired.Add();
  Close(connection, why);
}

void RpcServer::Impl::Close(const std::shared_ptr<Connection>& connection, std::string_view why) {
  const Connection::Closing closing = connection->Close();
  if (!closing.first) return;
  table_.Remove(connection->id());
  dispatcher_.Forget(*connection, closing.granted);
  if (why.empty()) {
    spdlog::debug("rpc: connection of {} closed", EndpointText(connection->peer()));
  } else if (auto left_out = log_.Allow(CoarseNowNs())) {
    spdlog::warn("rpc: connection of {} closed: {} (and {} more)", EndpointText(connection->peer()),
                 why, *left_out);
  }
}

RpcStats RpcServer::Impl::Stats() const {
  return {.connections = table_.size(),
          .connections_accepted = counters_.connections_accepted.value(),
          .connections_refused = counters_.connections_refused.value(),
          .connections_broken = counters_.connections_broken.value(),
          .connections_expired = counters_.connections_expired.value(),
          .calls = counters_.calls.value(),
          .errors = counters_.errors.value(),
          .refused = counters_.refused.value(),
          .replays = counters_.replays.value(),
          .replays_dropped = counters_.replays_dropped.value(),
          .parked = counters_.parked.value(),
          .bytes_in = counters_.bytes_in.value(),
          .bytes_out = counters_.bytes_out.value(),
          .durable_replies = counters_.durable_replies.value(),
          .durable_waits = counters_.durable_waits.value(),
          .durable_failures = counters_.durable_failures.value(),
          .bytes_in_flight = table_.bytes_in_flight(),
          .cached_replies = dispatcher_.reply_cache().entries(),
          .cached_bytes = dispatcher_.reply_cache().bytes(),
          .clients = table_.clients()};
}

Outcome<std::unique_ptr<RpcServer>> RpcServer::Start(RpcOptions options) {
  auto impl = std::make_unique<Impl>(std::move(options));
  PRISM_TRY(impl->Start());
  return std::unique_ptr<RpcServer>(new RpcServer(std::move(impl)));
}

RpcServer::RpcServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RpcServer::~RpcServer() { Stop(); }
void RpcServer::Stop() { impl_->Stop(); }
const PeerAddress& RpcServer::address() const { return impl_->address(); }
RpcStats RpcServer::Stats() const { return impl_->Stats(); }

}  // namespace prism::rpc
