#include "fs/mount/mount.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>

#include "fs/base/check.h"
#include "fs/mount/daemon.h"
#include "fs/mount/mount_point.h"
#include "fs/mount/mount_session.h"
#include "fs/mount/root_daemon.h"

namespace prism::mount {
namespace {

using std::chrono::milliseconds;

// After an abort the kernel fails every request at once; what takes longer is stuck.
constexpr milliseconds kAbortPatience{5000};

// The connector's handler may be called long after we have stopped listening: shared.
class Disconnect {
 public:
  Disconnect() : fd_(eventfd(0, EFD_CLOEXEC)) { PRISM_CHECK(fd_ >= 0); }
  ~Disconnect() { close(fd_); }
  void Tell(const std::string& reason) {
    std::lock_guard lock(mutex_);
    reason_ = reason;
    uint64_t one = 1;
    PRISM_CHECK(write(fd_, &one, sizeof one) == sizeof one);
  }
  std::string reason() {
    std::lock_guard lock(mutex_);
    return reason_;
  }
  int fd() const { return fd_; }

 private:
  std::mutex mutex_;
  std::string reason_;
  int fd_;
};

// SIGTERM and its like, and SIGCONT, as a descriptor; blocked in this thread and those that it
// starts.
Outcome<int> CatchSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : {SIGTERM, SIGINT, SIGHUP, SIGCONT}) sigaddset(&set, number);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  int fd = signalfd(-1, &set, SFD_CLOEXEC);
  if (fd < 0) return ExplainErrno(errno, "signalfd");
  return fd;
}

// A polite signal unmounts, lazily if something still uses the mount; a second one does not wait.
void OnSignal(MountSession& session, int number, int count) {
  if (count > 1) {
    spdlog::warn("signal {} again: aborting {}", number, session.directory());
    return session.Abort();
  }
  spdlog::info("signal {}: unmounting {}", number, session.directory());
  auto unmounted = session.Unmount();
  if (unmounted) return;
  spdlog::warn("{}; detaching it, and serving until its last user has gone",
               unmounted.error().message);
  if (auto detached = session.Detach(); !detached) spdlog::error(detached.error().message);
}

Outcome<void> ServeUntilEnd(MountSession& session, int signal_fd, Disconnect& disconnect,
                            bool is_root) {
  std::array<pollfd, 3> fds = {
      {{session.ended_fd(), POLLIN, 0}, {disconnect.fd(), POLLIN, 0}, {signal_fd, POLLIN, 0}}};
  int timeout_ms = -1;
  for (int signals = 0;;) {
    if (poll(fds.data(), fds.size(), timeout_ms) < 0 && errno != EINTR)
      return ExplainErrno(errno, "poll");
    if (timeout_ms >= 0) RefreshWhatSystemdAsks();
    if (fds[0].revents) return {};
    if (fds[1].revents) break;
    if (fds[2].revents) {
      signalfd_siginfo info = {};
      if (read(signal_fd, &info, sizeof info) != sizeof info) continue;
      if (info.ssi_signo != SIGCONT)
        OnSignal(session, static_cast<int>(info.ssi_signo), ++signals);
      else if (is_root)
        timeout_ms = kRefreshMs;
    }
  }
  session.Abort();
  if (!session.WaitEnded(kAbortPatience)) {
    spdlog::critical("{}: requests are stuck after the server has gone; ending anyway",
                     session.directory());
    std::_Exit(1);  // the kernel aborts the rest when it closes our descriptors
  }
  return Explain(Err::kDisconnected, "{}: lost the server ({}); unmounted", session.directory(),
                 disconnect.reason());
}

Outcome<void> ServeMount(const MountOptions& options, const Connector& connect,
                         const std::function<void()>& on_live) {
  PRISM_ASSIGN(int signal_fd, CatchSignals());
  auto disconnect = std::make_shared<Disconnect>();
  PRISM_ASSIGN(std::shared_ptr<fs::FileSystem> file_system,
               connect([disconnect](const std::string& reason) { disconnect->Tell(reason); }));
  SessionOptions session_options{.directory = options.directory,
                                 .volume = options.volume,
                                 .read_only = options.read_only,
                                 .allow_other = options.allow_other,
                                 .share_locks = options.share_locks,
                                 .is_root = options.is_root,
                                 .threads = options.threads};
  PRISM_ASSIGN(std::unique_ptr<MountSession> session,
               MountSession::Start(file_system, session_options));
  auto presence = Presence::Announce(session->device());
  if (!presence) spdlog::warn("umount will not wait for us: {}", presence.error().message);
  spdlog::info("{} is mounted on {}", options.volume, session->directory());
  on_live();
  Outcome<void> outcome = ServeUntilEnd(*session, signal_fd, *disconnect, options.is_root);
  session.reset();
  if (outcome && !options.read_only) {
    Status synced = file_system->Sync(fs::Caller{});
    if (!synced)
      outcome = Explain(synced.error(), "{}: the last changes may not be on disk: sync failed ({})",
                        options.volume, NameOf(synced.error()));
  }
  file_system.reset();
  close(signal_fd);
  return outcome;
}

}  // namespace

Outcome<void> RunMountOver(const MountOptions& options, const Connector& connect) {
  MountOptions resolved = options;
  PRISM_ASSIGN(resolved.directory, ResolveDirectory(options.directory));
  if (options.foreground) return ServeMount(resolved, connect, [] {});
  return RunInBackground(resolved.log_path, [&](const std::function<void()>& on_live) {
    return ServeMount(resolved, connect, on_live);
  });
}

Outcome<void> Unmount(const std::string& directory, int timeout_ms) {
  PRISM_ASSIGN(std::string path, ResolveDirectory(directory));
  PRISM_ASSIGN(auto mount, FindMount(path));
  if (!mount) return Explain(Err::kInvalid, "{}: nothing is mounted there", path);
  if (mount->type != kMountType)
    return Explain(Err::kInvalid, "{}: not a Prism mount (it is {} from {})", path, mount->type,
                   mount->source);
  auto process = ServingProcess::Find(mount->device);
  // Without its process nothing can be lost, and what holds files open there only gets errors.
  int flags = UMOUNT_NOFOLLOW | (process ? 0 : MNT_DETACH);
  if (umount2(path.c_str(), flags) != 0) {
    if (errno == EBUSY)
      return Explain(Err::kBusy,
                     "{} is in use: files are open in it, a process works in it, or "
                     "something is mounted below it (see fuser -vm {})",
                     path, path);
    return ExplainErrno(errno, "unmounting " + path);
  }
  if (process && !process->WaitGone(timeout_ms))
    return Explain(Err::kTimedOut,
                   "{} is unmounted, but process {} that served it lives on after "
                   "{} ms",
                   path, process->pid(), timeout_ms);
  return {};
}

}  // namespace prism::mount
