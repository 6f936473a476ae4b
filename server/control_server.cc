#include "server/control_server.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace prism::server {
namespace {

// False when the peer has gone or does not read.
bool SendLine(int fd, std::string line) {
  line += '\n';
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t sent = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    rest.remove_prefix(sent);
  }
  return true;
}

}  // namespace

Outcome<void> ControlServer::Bind(const std::string& path) {
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  if (stop_fd_ < 0) return ExplainErrno(errno, "cannot make an eventfd");
  return listener_.Listen(path);
}

void ControlServer::Start() {
  acceptor_ = std::thread([this] { Accept(); });
}

void ControlServer::Stop() {
  if (stop_fd_ < 0) return;
  eventfd_write(stop_fd_, 1);
  if (acceptor_.joinable()) acceptor_.join();
  listener_.Close();
  std::unique_lock lock(mutex_);
  idle_.wait(lock, [this] { return connections_ == 0; });
  close(stop_fd_);
  stop_fd_ = -1;
}

bool ControlServer::WaitReadable(int fd) {
  pollfd waits[2] = {{fd, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  while (true) {
    if (poll(waits, 2, -1) < 0) {
      if (errno == EINTR) continue;
      return false;
    }
    if (waits[1].revents) return false;
    if (waits[0].revents) return true;
  }
}

void ControlServer::Accept() {
  while (WaitReadable(listener_.fd())) {
    const int fd = accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      Admit(fd);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      const auto now = std::chrono::steady_clock::now().time_since_epoch();
      if (auto left_out = accept_log_.Allow(std::chrono::nanoseconds(now).count()))
        spdlog::error("control: cannot accept: {} (and {} lines before)", std::strerror(errno),
                      *left_out);
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

void ControlServer::Admit(int fd) {
  const timeval timeout{kControlSendTimeoutSec, 0};
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  std::string refusal;
  if (!PeerIsAllowed(fd)) {
    refusal = FailureLine({Err::kPerm, "only root and the server's own user may control it"});
  } else {
    std::lock_guard lock(mutex_);
    if (connections_ == kControlConnectionsMax)
      refusal = FailureLine({Err::kAgain, "too many control connections: try again later"});
    else
      ++connections_;
  }
  if (!refusal.empty()) {
    SendLine(fd, refusal);
    close(fd);
    return;
  }
  std::thread([this, fd] {
    Serve(fd);
    close(fd);
    std::lock_guard lock(mutex_);
    --connections_;
    idle_.notify_all();
  }).detach();
}

void ControlServer::Serve(int fd) {
  ControlSession session(context_);
  std::string pending;
  std::vector<char> buffer(64 << 10);
  size_t searched = 0;
  while (WaitReadable(fd)) {
    const ssize_t got = recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return;
    pending.append(buffer.data(), got);
    size_t newline;
    while ((newline = pending.find('\n', searched)) != std::string::npos) {
      if (newline >= kControlLineMax) break;
      const std::string line = pending.substr(0, newline);
      pending.erase(0, newline + 1);
      searched = 0;
      if (!SendLine(fd, session.Answer(line))) return;
    }
    searched = pending.size();
    if (pending.size() >= kControlLineMax) {
      SendLine(fd, FailureLine({Err::kTooBig, "the line is longer than 1 MiB"}));
      return;
    }
  }
}

}  // namespace prism::server
