#include "vrpc/handshake.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/base/check.h"
#include "vrpc/layout.h"

namespace prism::vrpc {
namespace {

constexpr size_t kFdsMax = 2 + 2 * kQueuesMax;
static_assert(kFdsMax <= 253);  // SCM_MAX_FD

Outcome<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Explain(Err::kNameTooLong, "the socket path '{}' must have 1 to {} bytes", path,
                   sizeof address.sun_path - 1);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* Generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

int RemainingMs(Deadline deadline) {
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  return static_cast<int>(std::clamp<int64_t>(left.count(), 0, 1 << 30));
}

// Is somebody accepting connections at this address?
bool IsAlive(const sockaddr_un& address) {
  UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!probe) return true;
  if (::connect(probe.get(), Generic(address), sizeof address) == 0) return true;
  return errno == EAGAIN;  // its backlog is full
}

// Takes the descriptors out of a message; those beyond what a lane can have are closed.
void TakeFds(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&message); part != nullptr;
       part = CMSG_NXTHDR(&message, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      UniqueFd owned(fd);
      if (fds.size() < kFdsMax) fds.push_back(std::move(owned));
    }
  }
}

Outcome<void> ReceiveAnswer(int socket_fd, Answer& answer, std::vector<UniqueFd>& fds,
                            Deadline deadline) {
  size_t have = 0;
  while (have < sizeof answer) {
    pollfd poll_fd{.fd = socket_fd, .events = POLLIN, .revents = 0};
    int ready = ::poll(&poll_fd, 1, RemainingMs(deadline));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return Explain(Err::kTimedOut, "the server did not answer in time");
    iovec vector{.iov_base = reinterpret_cast<char*>(&answer) + have,
                 .iov_len = sizeof answer - have};
    alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))];
    msghdr message{.msg_name = nullptr,
                   .msg_namelen = 0,
                   .msg_iov = &vector,
                   .msg_iovlen = 1,
                   .msg_control = control,
                   .msg_controllen = sizeof control,
                   .msg_flags = 0};
    ssize_t got = ::recvmsg(socket_fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return Explain(Err::kDisconnected, "the server closed the connection");
    TakeFds(message, fds);
    have += static_cast<size_t>(got);
  }
  return {};
}

void SendAnswer(int socket_fd, const Answer& answer, const std::vector<int>& fds) {
  Answer copy = answer;
  iovec vector{.iov_base = &copy, .iov_len = sizeof copy};
  alignas(cmsghdr) char control[CMSG_SPACE(kFdsMax * sizeof(int))] = {};
  msghdr message{.msg_name = nullptr,
                 .msg_namelen = 0,
                 .msg_iov = &vector,
                 .msg_iovlen = 1,
                 .msg_control = nullptr,
                 .msg_controllen = 0,
                 .msg_flags = 0};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(part), fds.data(), fds.size() * sizeof(int));
  }
  // A client whose socket does not take 512 bytes at once finds it closed: its loss alone.
  [[maybe_unused]] ssize_t sent = ::sendmsg(socket_fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

Outcome<Welcome> Unpack(const Answer& answer, std::vector<UniqueFd> fds) {
  if (answer.magic != kAnswerMagic)
    return Explain(Err::kProtocol, "what answers there is not a Prism server");
  if (answer.error >= kErrCount || answer.message_bytes > kAnswerMessageMax)
    return Explain(Err::kProtocol, "the server's answer is malformed");
  if (answer.error != 0)
    return tl::unexpected<Failure>(
        Failure{static_cast<Err>(answer.error), std::string(answer.message, answer.message_bytes)});
  if (answer.version != kVersion)
    return Explain(Err::kProtocol, "the server chose version {}, this client speaks {}",
                   answer.version, kVersion);
  if (answer.queues == 0 || answer.queues > kQueuesMax || fds.size() != 2 + 2 * answer.queues)
    return Explain(Err::kProtocol, "the server sent {} descriptors for {} queues", fds.size(),
                   answer.queues);
  Welcome welcome;
  welcome.segment_bytes = answer.segment_bytes;
  welcome.segment = std::move(fds[0]);
  welcome.fds.notify = std::move(fds[1]);
  for (size_t i = 2; i < fds.size(); i += 2) {
    welcome.fds.doorbells.push_back(std::move(fds[i]));
    welcome.fds.completions.push_back(std::move(fds[i + 1]));
  }
  return welcome;
}

}  // namespace

std::string LanePathFor(std::string_view control_path) {
  return std::string(control_path) + ".lane";
}

Outcome<UniqueFd> ListenAt(const std::string& path) {
  PRISM_ASSIGN(sockaddr_un address, AddressOf(path));
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode))
      return Explain(Err::kExists, "'{}' exists and is not a socket", path);
    if (IsAlive(address)) return Explain(Err::kBusy, "another server listens at '{}'", path);
    ::unlink(path.c_str());
  }
  UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return ExplainErrno(errno, "cannot make a socket");
  // On Linux the file takes the mode that the socket has when it is bound.
  if (::fchmod(listener.get(), 0600) != 0)
    return ExplainErrno(errno, "cannot set the socket's mode");
  if (::bind(listener.get(), Generic(address), sizeof address) != 0)
    return ExplainErrno(errno, fmt::format("cannot make the socket '{}'", path));
  if (::listen(listener.get(), SOMAXCONN) != 0)
    return ExplainErrno(errno, fmt::format("cannot listen at '{}'", path));
  return listener;
}

Outcome<UniqueFd> ConnectTo(const std::string& path, Deadline deadline) {
  PRISM_ASSIGN(sockaddr_un address, AddressOf(path));
  UniqueFd connection(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!connection) return ExplainErrno(errno, "cannot make a socket");
  int wait_ms = std::max(RemainingMs(deadline), 1);
  timeval wait{.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  while (::connect(connection.get(), Generic(address), sizeof address) != 0) {
    if (errno == EINTR && RemainingMs(deadline) > 0) continue;
    if (errno == ENOENT || errno == ECONNREFUSED)
      return Explain(Err::kDisconnected, "no server listens at '{}'", path);
    if (errno == EAGAIN || errno == EINTR)
      return Explain(Err::kTimedOut, "the server at '{}' does not take connections", path);
    return ExplainErrno(errno, fmt::format("cannot connect to '{}'", path));
  }
  return connection;
}

Outcome<Welcome> Greet(int socket_fd, const Hello& hello, Deadline deadline) {
  // A server that refuses everybody answers without listening, and this then fails: no matter.
  [[maybe_unused]] ssize_t sent = ::send(socket_fd, &hello, sizeof hello, MSG_NOSIGNAL);
  Answer answer{};
  std::vector<UniqueFd> fds;
  PRISM_TRY(ReceiveAnswer(socket_fd, answer, fds, deadline));
  return Unpack(answer, std::move(fds));
}

Outcome<void> CheckHello(const Hello& hello) {
  if (hello.magic != kHelloMagic) return Explain(Err::kProtocol, "this is not a lane's hello");
  if (hello.version_min > kVersion || hello.version_max < kVersion)
    return Explain(Err::kNotSupported, "the server speaks version {}, the client {} to {}",
                   kVersion, hello.version_min, hello.version_max);
  if ((hello.flags & ~kHelloImporting) != 0 || hello.reserved != 0)
    return Explain(Err::kNotSupported, "the hello has flags this server does not know");
  if (hello.volume_bytes == 0 || hello.volume_bytes > kVolumeNameMax)
    return Explain(Err::kInvalid, "a volume's name has 1 to {} bytes", kVolumeNameMax);
  return {};
}

void SendWelcome(int socket_fd, int segment_fd, uint64_t segment_bytes, const LaneFds& fds) {
  Answer answer{};
  answer.magic = kAnswerMagic;
  answer.version = kVersion;
  answer.segment_bytes = segment_bytes;
  answer.queues = static_cast<uint32_t>(fds.doorbells.size());
  std::vector<int> numbers = {segment_fd, fds.notify.get()};
  for (size_t i = 0; i < fds.doorbells.size(); ++i) {
    numbers.push_back(fds.doorbells[i].get());
    numbers.push_back(fds.completions[i].get());
  }
  PRISM_CHECK(numbers.size() <= kFdsMax);
  SendAnswer(socket_fd, answer, numbers);
}

void SendRefusal(int socket_fd, const Failure& failure) {
  Answer answer{};
  answer.magic = kAnswerMagic;
  answer.version = kVersion;
  answer.error = static_cast<uint32_t>(failure.code == Err::kOk ? Err::kIo : failure.code);
  answer.message_bytes = static_cast<uint32_t>(std::min(failure.message.size(), kAnswerMessageMax));
  std::memcpy(answer.message, failure.message.data(), answer.message_bytes);
  SendAnswer(socket_fd, answer, {});
}

Outcome<Peer> PeerOf(int socket_fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
    return ExplainErrno(errno, "cannot tell who connects");
  return Peer{credentials.pid, credentials.uid};
}

}  // namespace prism::vrpc
