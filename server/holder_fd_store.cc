#include <spawn.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>

#include "server/fd_message.h"
#include "server/fd_store.h"
#include "server/holder.h"
#include "server/plain_name.h"
#include "server/unix_listener.h"

extern char** environ;

namespace prism::server {
namespace {

constexpr int kAnswerTimeoutSec = 5;
constexpr int kTries = 3;  // it may be ending while we connect

// Each request is a connection of its own: they are rare, and the holder may end in between.
class HolderFdStore : public FdStore {
 public:
  HolderFdStore(std::string socket_path, std::string program)
      : socket_path_(std::move(socket_path)), program_(std::move(program)) {}

  Outcome<void> Put(const std::string& name, std::string_view note,
                    std::span<const int> fds) override;
  void Remove(const std::string& name) override;
  std::vector<Entry> TakeAll() override;

 private:
  Outcome<UniqueFd> Connect() const;
  Outcome<void> StartHolder() const;
  // The answer, without its code; a Failure with the code that the holder answered.
  static Outcome<FdMessage> Ask(int fd, uint8_t op, const std::string& name,
                                std::span<const int> fds = {});

  const std::string socket_path_;
  const std::string program_;
};

Outcome<UniqueFd> HolderFdStore::Connect() const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path_.size() >= sizeof address.sun_path)
    return Explain(Err::kNameTooLong, "the holder's socket path has more than {} bytes: {}",
                   sizeof address.sun_path - 1, socket_path_);
  std::memcpy(address.sun_path, socket_path_.data(), socket_path_.size());
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd) return ExplainErrno(errno, "cannot make a socket");
  const timeval timeout{kAnswerTimeoutSec, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED)
      return Explain(Err::kDisconnected, "no holder is there");
    return ExplainErrno(errno, "cannot connect to " + socket_path_);
  }
  // It is given the memory of machines, and what it gives is taken for theirs.
  if (!PeerIsAllowed(fd.get()))
    return Explain(Err::kPerm, "another user listens at {}", socket_path_);
  return fd;
}

Outcome<void> HolderFdStore::StartHolder() const {
  const char* const arguments[] = {program_.c_str(), socket_path_.c_str(), nullptr};
  posix_spawnattr_t attributes;
  ::posix_spawnattr_init(&attributes);
  // The server blocks signals; its own must not reach the holder either.
  sigset_t none;
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error = ::posix_spawn(&pid, program_.c_str(), nullptr, &attributes,
                                  const_cast<char* const*>(arguments), environ);
  ::posix_spawnattr_destroy(&attributes);
  if (error != 0) return ExplainErrno(error, "cannot start " + program_);
  // It goes to the background when it can be reached.
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    return Explain(Err::kIo, "{} did not start", program_);
  return {};
}

Outcome<FdMessage> HolderFdStore::Ask(int fd, uint8_t op, const std::string& name,
                                      std::span<const int> fds) {
  if (!SendFds(fd, static_cast<char>(op) + name, fds))
    return Explain(Err::kDisconnected, "the holder has gone");
  PRISM_ASSIGN(FdMessage answer, ReceiveFds(fd, 1 + kPlainNameMax));
  const auto code = static_cast<uint8_t>(answer.bytes[0]);
  if (code != 0)
    return Explain(code < kErrCount ? static_cast<Err>(code) : Err::kIo, "the holder refused: {}",
                   code < kErrCount ? NameOf(static_cast<Err>(code)) : "");
  answer.bytes.erase(0, 1);
  return answer;
}

Outcome<void> HolderFdStore::Put(const std::string& name, std::string_view note,
                                 std::span<const int> fds) {
  PRISM_ASSIGN(UniqueFd pack, PackFds(note, fds));
  const int sent[] = {pack.get(), fds[0]};
  for (int left = kTries;; --left) {
    Outcome<UniqueFd> connection = Connect();
    if (connection) {
      Outcome<FdMessage> answer = Ask(connection->get(), kHolderPut, name, sent);
      if (answer) return {};
      if (answer.error().code != Err::kDisconnected || left == 0)
        return tl::unexpected(answer.error());
    } else {
      if (connection.error().code != Err::kDisconnected || left == 0)
        return tl::unexpected(connection.error());
      PRISM_TRY(StartHolder());
    }
  }
}

void HolderFdStore::Remove(const std::string& name) {
  Outcome<UniqueFd> connection = Connect();
  Outcome<void> done;
  if (!connection)
    done = tl::unexpected(connection.error());
  else if (Outcome<FdMessage> answer = Ask(connection->get(), kHolderRemove, name); !answer)
    done = tl::unexpected(answer.error());
  // No holder, nothing held.
  if (!done && done.error().code != Err::kDisconnected)
    spdlog::warn("descriptors of {} stay with the holder: {}", name, done.error().message);
}

std::vector<FdStore::Entry> HolderFdStore::TakeAll() {
  std::vector<Entry> entries;
  Outcome<UniqueFd> connection = Connect();
  if (!connection) {
    if (connection.error().code != Err::kDisconnected)
      spdlog::warn("lanes that are held cannot go on: {}", connection.error().message);
    return entries;
  }
  std::vector<std::string> bad;
  for (std::string name;;) {
    Outcome<FdMessage> next = Ask(connection->get(), kHolderNext, name);
    if (!next && next.error().code != Err::kNoEntry && next.error().code != Err::kDisconnected)
      spdlog::warn("the holder does not hand out what it has: {}", next.error().message);
    if (!next || next->bytes <= name || next->fds.size() != 1) break;
    name = next->bytes;
    Outcome<PackedFds> content = UnpackFds(next->fds[0].get());
    if (content) {
      entries.push_back({name, std::move(*content)});
      continue;
    }
    spdlog::warn("held descriptors of {} are dropped: {}", name, content.error().message);
    bad.push_back(name);
  }
  for (const std::string& name : bad) Remove(name);
  return entries;
}

}  // namespace

std::unique_ptr<FdStore> OpenHolderFdStore(std::string socket_path, std::string holder_program) {
  return std::make_unique<HolderFdStore>(std::move(socket_path), std::move(holder_program));
}

}  // namespace prism::server
