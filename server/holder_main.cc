#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "fs/base/log_limit.h"
#include "server/fd_message.h"
#include "server/holder.h"
#include "server/plain_name.h"
#include "server/unix_listener.h"

namespace prism::server {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kAcceptPauseMs = 100;  // when descriptors have run out

// One thread; everything it does is short.
class Holder {
 public:
  Outcome<void> Listen(const std::string& path);
  void Run();  // until it is no longer needed

 private:
  struct Entry {
    UniqueFd pack;
    UniqueFd lifeline;
  };

  void Accept();
  void PauseAccepting(int error);
  // False: the connection is to be closed.
  bool Serve(int fd);
  Err Put(const std::string& name, std::vector<UniqueFd>& fds);

  UnixListener listener_;
  UniqueFd watch_;  // inotify, of the socket's file
  std::map<std::string, Entry> entries_;
  std::vector<UniqueFd> connections_;
  bool stored_ = false;             // anything, ever
  Clock::time_point accepts_at_{};  // not before
  LogLimit log_;
};

Outcome<void> Holder::Listen(const std::string& path) {
  PRISM_TRY(listener_.Listen(path, SOCK_SEQPACKET));
  watch_ = UniqueFd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch_ || ::inotify_add_watch(watch_.get(), path.c_str(),
                                     IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
    return ExplainErrno(errno, "cannot watch " + path);
  return {};
}

void Holder::Run() {
  while (!stored_ || !entries_.empty()) {
    std::vector<pollfd> polls = {{listener_.fd(), POLLIN, 0}, {watch_.get(), POLLIN, 0}};
    for (const UniqueFd& connection : connections_) polls.push_back({connection.get(), POLLIN, 0});
    for (const auto& [name, entry] : entries_)
      polls.push_back({entry.lifeline.get(), POLLRDHUP, 0});
    const bool paused = Clock::now() < accepts_at_;
    if (paused) polls[0].fd = -1;
    const int timeout_ms = paused ? kAcceptPauseMs : stored_ ? -1 : kHolderStartMs;
    const int ready = ::poll(polls.data(), polls.size(), timeout_ms);
    if ((ready == 0 && !paused) || (ready < 0 && errno != EINTR)) return;
    if (ready <= 0) continue;

    // From the back, so that the indices in front stay right; entries first, before a request of
    // a connection can change them.
    size_t at = 2 + connections_.size();
    for (auto entry = entries_.begin(); entry != entries_.end(); ++at)
      entry = polls[at].revents ? entries_.erase(entry) : std::next(entry);
    for (size_t i = connections_.size(); i-- > 0;)
      if (polls[2 + i].revents && !Serve(connections_[i].get()))
        connections_.erase(connections_.begin() + static_cast<ptrdiff_t>(i));
    if (polls[0].revents) Accept();
    if (polls[1].revents) {
      char events[4096];
      if (::read(watch_.get(), events, sizeof events) > 0 && !listener_.IsInPlace()) return;
    }
  }
}

void Holder::Accept() {
  UniqueFd fd(::accept4(listener_.fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
    return PauseAccepting(errno);
  ucred peer{};
  socklen_t length = sizeof peer;
  if (!fd || connections_.size() == kHolderConnectionsMax ||
      ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0 ||
      peer.uid != ::geteuid())
    return;
  connections_.push_back(std::move(fd));
}

// Who asks would wake us at once again, and until somebody else goes there is nothing for him.
void Holder::PauseAccepting(int error) {
  const Clock::time_point now = Clock::now();
  accepts_at_ = now + std::chrono::milliseconds(kAcceptPauseMs);
  const auto now_ns = std::chrono::nanoseconds(now.time_since_epoch()).count();
  if (auto left_out = log_.Allow(static_cast<uint64_t>(now_ns)))
    ::syslog(LOG_ERR, "cannot take a connection: %s (and %llu lines before)", std::strerror(error),
             static_cast<unsigned long long>(*left_out));
}

bool Holder::Serve(int fd) {
  Outcome<FdMessage> request = ReceiveFds(fd, 1 + kPlainNameMax, MSG_DONTWAIT);
  if (!request) return request.error().code == Err::kAgain;
  const auto op = static_cast<uint8_t>(request->bytes[0]);
  const std::string name = request->bytes.substr(1);
  Err err = Err::kOk;
  std::string answer_name;
  int answer_fd = -1;
  if (op == kHolderPut && IsPlainName(name)) {
    err = Put(name, request->fds);
  } else if (op == kHolderRemove && IsPlainName(name)) {
    entries_.erase(name);
  } else if (op == kHolderNext) {
    const auto next = entries_.upper_bound(name);
    if (next == entries_.end()) {
      err = Err::kNoEntry;
    } else {
      answer_name = next->first;
      answer_fd = next->second.pack.get();
    }
  } else {
    return false;
  }
  const std::string answer = static_cast<char>(err) + answer_name;
  return SendFds(fd, answer, {&answer_fd, answer_fd < 0 ? size_t{0} : size_t{1}});
}

Err Holder::Put(const std::string& name, std::vector<UniqueFd>& fds) {
  if (fds.size() != 2) return Err::kInvalid;
  if (entries_.size() >= kHolderEntriesMax && !entries_.contains(name)) return Err::kNoSpace;
  entries_[name] = {std::move(fds[0]), std::move(fds[1])};
  stored_ = true;
  return Err::kOk;
}

// Out of reach of whoever started the server: their terminal, their pipes, their signals.
bool Detach() {
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child > 0) ::_exit(0);  // the socket is there: the server may go on
  ::setsid();
  UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (int fd = 0; fd < 3; ++fd) ::dup2(null.get(), fd);
  return ::chdir("/") == 0;
}

int Run(const std::string& path) {
  ::close_range(3, ~0u, 0);
  ::umask(077);
  std::signal(SIGPIPE, SIG_IGN);
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
  }
  Holder holder;
  if (Outcome<void> listening = holder.Listen(path); !listening) {
    if (listening.error().code == Err::kBusy) return 0;  // there is one
    std::fprintf(stderr, "prismd-holder: %s\n", listening.error().message.c_str());
    return 1;
  }
  if (!Detach()) return 1;
  ::openlog("prismd-holder", LOG_PID | LOG_NDELAY, LOG_DAEMON);  // while there are descriptors
  holder.Run();
  return 0;
}

}  // namespace
}  // namespace prism::server

int main(int argc, char** argv) {
  if (argc != 2 || argv[1][0] != '/') {
    std::fprintf(stderr,
                 "usage: prismd-holder /PATH/OF/ITS/SOCKET\n"
                 "Keeps lanes of virtual machines while prismd restarts; prismd starts it.\n");
    return 2;
  }
  return prism::server::Run(argv[1]);
}
