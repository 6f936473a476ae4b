#include "fs/mount/mount_session.h"

#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <thread>
#include <vector>

#include "fs/base/check.h"
#include "fs/mount/fuse_connection.h"
#include "fs/mount/fuse_ops.h"
#include "fs/mount/lock_keeper.h"
#include "fs/mount/mount_point.h"
#include "fs/mount/worker.h"

namespace prism::mount {
namespace {

using std::chrono::milliseconds;

// Two requests: one is being copied into the kernel while the server works on the next.
constexpr size_t kReadAheadBytes = 2 * fs::kIoMax;

constexpr unsigned kHelpers = 8;  // fsyncs that wait at once; more wait for these

// What others change: our own memory of it ends first, then the kernel's.
class Listener final : public fs::EventListener {
 public:
  Listener(OwnChanges& own_changes, Invalidator& invalidator)
      : own_changes_(own_changes), invalidator_(invalidator) {}
  void OnEvent(const fs::Event& event) override {
    if (event.kind != fs::Event::Kind::kBarrier) own_changes_.OnEvent(event);
    invalidator_.OnEvent(event);
  }
  bool AnswersBarriers() const override { return true; }

 private:
  OwnChanges& own_changes_;
  Invalidator& invalidator_;
};

class Session final : public MountSession {
 public:
  Session(std::shared_ptr<fs::FileSystem> file_system, SessionOptions options)
      : file_system_(std::move(file_system)),
        options_(std::move(options)),
        locks_(*file_system_, {.run_later = [this](auto task) { helpers_.Run(std::move(task)); },
                               .wait_quiescent = [this] { WaitQuiescent(); }}),
        invalidator_(lookups_, Hooks()),
        helpers_(kHelpers),
        context_{.fs = *file_system_,
                 .lookups = lookups_,
                 .invalidator = invalidator_,
                 .helpers = helpers_,
                 .locks = locks_,
                 .share_locks = options_.share_locks,
                 .own_changes = own_changes_,
                 .failed_writebacks = {},
                 .listings = {},
                 .entry_timeout_s = options_.entry_timeout_s,
                 .is_root = options_.is_root} {}

  ~Session() override {
    if (mounted_ && !WaitEnded(milliseconds(0))) Abort();
    for (std::thread& thread : threads_) thread.join();
    helpers_.Stop();
    file_system_->SetListener(nullptr);
    invalidator_.Stop();
    locks_.Stop();
    connection_.reset();
    if (ended_fd_ >= 0) close(ended_fd_);
  }

  Outcome<void> Begin();

  Outcome<void> Unmount() override { return TakeAway(UMOUNT_NOFOLLOW); }
  Outcome<void> Detach() override { return TakeAway(UMOUNT_NOFOLLOW | MNT_DETACH); }
  void Abort() override {
    if (!IsOnTop()) return AbortConnection();
    // Force makes the kernel fail what waits, even where it then finds the mount busy.
    umount2(options_.directory.c_str(), UMOUNT_NOFOLLOW | MNT_FORCE);
    umount2(options_.directory.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH);
  }

  int ended_fd() const override { return ended_fd_; }
  bool WaitEnded(milliseconds timeout) const override {
    pollfd poll_fd{.fd = ended_fd_, .events = POLLIN, .revents = 0};
    return poll(&poll_fd, 1, static_cast<int>(timeout.count())) > 0;
  }
  const std::string& device() const override { return device_; }
  const std::string& directory() const override { return options_.directory; }
  size_t known_inodes() const override { return lookups_.size(); }

 private:
  InvalidatorHooks Hooks();
  Outcome<void> Check();
  bool IsOnTop() const;
  void AbortConnection();
  Outcome<void> TakeAway(int flags);
  void Serve(Worker& worker);
  Outcome<void> WaitAgreed();
  void WaitQuiescent();
  void PassBarrier(uint64_t cookie);
  void RaiseReadahead();

  std::shared_ptr<fs::FileSystem> file_system_;
  SessionOptions options_;
  std::string device_;
  LookupTable lookups_;
  std::unique_ptr<FuseConnection> connection_;
  LockKeeper locks_;
  Invalidator invalidator_;
  OwnChanges own_changes_;
  Listener listener_{own_changes_, invalidator_};
  HelperPool helpers_;
  MountContext context_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::thread> threads_;
  std::atomic<unsigned> serving_{0};
  int ended_fd_ = -1;
  bool mounted_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool agreed_ = false;   // INIT was answered
  bool refused_ = false;  // a thread's service ended
};

InvalidatorHooks Session::Hooks() {
  return InvalidatorHooks{
      .drop_inode = [this](InodeId ino) { connection_->DropInode(ino); },
      .drop_attributes = [this](InodeId ino) { connection_->DropAttributes(ino); },
      .drop_entry = [this](InodeId dir,
                           const std::string& name) { connection_->DropEntry(dir, name); },
      .drop_all_entries = [this] { connection_->DropAllEntries(); },
      .wait_quiescent = [this] { WaitQuiescent(); },
      .release =
          [this](InodeId ino) {
            Status status = file_system_->Release(fs::Caller{}, ino);
            if (!status) spdlog::debug("releasing inode {}: {}", ino, NameOf(status.error()));
          },
      .lock_granted = [this](uint64_t cookie) { locks_.Granted(cookie); },
      .pass_barrier = [this](uint64_t cookie) { PassBarrier(cookie); },
      .ask_for_locks = [this] { locks_.AskAgain(); },
  };
}

Outcome<void> Session::Check() {
  if (options_.threads < 1 || options_.threads > SessionOptions::kThreadsMax)
    return Explain(Err::kInvalid, "threads must be 1 to {}", SessionOptions::kThreadsMax);
  if (options_.volume.find_first_of(",\\ \n") != std::string::npos)
    return Explain(Err::kInvalid, "not a volume's name: {}", options_.volume);
  PRISM_ASSIGN(options_.directory, ResolveDirectory(options_.directory));
  struct stat st;
  if (stat(options_.directory.c_str(), &st) != 0) return ExplainErrno(errno, options_.directory);
  if (!S_ISDIR(st.st_mode))
    return Explain(Err::kInvalid, "{} is not a directory", options_.directory);
  return {};
}

Outcome<void> Session::Begin() {
  PRISM_TRY(Check());
  ended_fd_ = eventfd(0, EFD_CLOEXEC);
  if (ended_fd_ < 0) return ExplainErrno(errno, "eventfd");
  context_.on_init = [this](fuse_conn_info& info) {
    connection_->Agree(info, context_);
    std::lock_guard lock(mutex_);
    agreed_ = true;
    changed_.notify_all();
  };
  PRISM_ASSIGN(connection_, FuseConnection::Mount(options_, context_));
  mounted_ = true;
  // The device is read before anything could unmount it again.
  PRISM_ASSIGN(auto mount, FindMount(options_.directory));
  if (!mount || mount->type != kMountType)
    return Explain(Err::kIo, "{} is not in /proc/self/mountinfo after mounting",
                   options_.directory);
  device_ = mount->device;

  file_system_->SetListener(&listener_);
  for (unsigned i = 0; i < options_.threads; ++i) workers_.push_back(connection_->NewWorker());
  // INIT comes first and alone: the others start when what it decided is known.
  serving_ = options_.threads;
  threads_.emplace_back([this] { Serve(*workers_[0]); });
  Outcome<void> agreed = WaitAgreed();
  for (unsigned i = 1; i < options_.threads; ++i)
    threads_.emplace_back([this, i] { Serve(*workers_[i]); });
  PRISM_TRY(agreed);
  RaiseReadahead();
  return {};
}

// The kernel's default of 128 KiB cannot be raised in INIT, only where each device's is set.
void Session::RaiseReadahead() {
  std::ofstream file("/sys/class/bdi/" + device_ + "/read_ahead_kb");
  file << (kReadAheadBytes >> 10) << std::endl;
  if (!file) spdlog::debug("read-ahead stays as the kernel chose");
}

Outcome<void> Session::WaitAgreed() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [this] { return agreed_ || refused_; });
  if (agreed_) return {};
  return Explain(Err::kIo, "the kernel did not agree to serve {}", options_.directory);
}

void Session::Serve(Worker& worker) {
  worker.Enter();
  while (true) {
    auto request = worker.Receive();
    if (!request) break;
    if (request->empty()) continue;
    connection_->Process(*request);
    worker.Done();
  }
  {
    std::lock_guard lock(mutex_);
    refused_ = true;
    changed_.notify_all();
  }
  if (serving_.fetch_sub(1) != 1) return;
  uint64_t one = 1;
  PRISM_CHECK(write(ended_fd_, &one, sizeof one) == sizeof one);
}

// A request is under way on a worker while its count of turns is odd.
void Session::WaitQuiescent() {
  for (const auto& worker : workers_) {
    uint64_t turns = worker->turns();
    while ((turns & 1) && worker->turns() == turns) std::this_thread::sleep_for(milliseconds(1));
  }
}

// Telling the kernel to drop a file's pages makes it write the dirty ones first, and wait for that.
// A page of a shared mapping can only be dirty in a file that was opened for writing.
void Session::PassBarrier(uint64_t cookie) {
  const uint64_t failed = context_.failed_writebacks.load();
  // Where the kernel opens files by itself, any may be.
  for (const InodeId ino : options_.share_locks ? lookups_.Writable() : lookups_.Inodes())
    connection_->DropInode(ino);
  connection_->WaitTaken();
  WaitQuiescent();  // what the kernel had begun to write before
  const bool written = context_.failed_writebacks.load() == failed;
  Status answered = file_system_->AnswerBarrier(fs::Caller{}, cookie, written);
  if (!answered) spdlog::info("a barrier came too late: {}", NameOf(answered.error()));
}

// Whatever was mounted over our directory since, or after ours was moved, is not ours to take away.
bool Session::IsOnTop() const {
  auto mount = FindMount(options_.directory);
  return mount && *mount && (*mount)->device == device_;
}

// Needs fusectl, which systemd mounts.
void Session::AbortConnection() {
  std::string minor = device_.substr(device_.find(':') + 1);
  std::ofstream file("/sys/fs/fuse/connections/" + minor + "/abort");
  file << 1 << std::endl;
  if (!file) spdlog::warn("{}: covered by another mount, not aborted", options_.directory);
}

Outcome<void> Session::TakeAway(int flags) {
  if (!IsOnTop())
    return Explain(Err::kBusy, "{}: this mount is not there, or is covered by another",
                   options_.directory);
  if (umount2(options_.directory.c_str(), flags) == 0) return {};
  if (errno == EBUSY)
    return Explain(Err::kBusy,
                   "{} is in use: files are open in it, a process works in it, or "
                   "something is mounted below it (see fuser -vm {})",
                   options_.directory, options_.directory);
  return ExplainErrno(errno, "unmounting " + options_.directory);
}

}  // namespace

Outcome<std::unique_ptr<MountSession>> MountSession::Start(
    std::shared_ptr<fs::FileSystem> file_system, const SessionOptions& options) {
  auto session = std::make_unique<Session>(std::move(file_system), options);
  PRISM_TRY(session->Begin());
  return std::unique_ptr<MountSession>(std::move(session));
}

}  // namespace prism::mount
