// The locks that processes of this mount hold or wait for: when to give them back, and whom to
// answer. What is locked is decided by the server alone.
//
// The kernel tells of a lock who owns it, a number that stands for the process (fcntl), or for the
// open file (flock, and fcntl's OFD locks), and by which open file it was asked for. An owner's
// fcntl locks of a file go when its process closes any of its descriptors (FLUSH), all others when
// the open file by which they came is closed for good (RELEASE). Owners that have never locked here
// are not known here, so that their FLUSH and RELEASE cost the server nothing.
//
// The kernel does not wait for RELEASE when a file is closed. It is ahead of whatever is asked
// after that, but another thread serves it: so a request that is about to fail because of somebody
// of this mount is tried again when what was being served has been.
//
// A request that has to wait keeps no thread: it is answered when the server's event comes, or when
// a signal interrupts it.
//
// THREADS: any. No lock is held while the server is asked or libfuse is called.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/mount/fuse_ops.h"

namespace prism::mount {

class LockKeeper {
 public:
  // What it needs of the session.
  struct Hooks {
    std::function<void(std::function<void()>)> run_later;  // HelperPool::Run
    std::function<void()> wait_quiescent;  // until every request in service at the call has ended
  };
  LockKeeper(fs::FileSystem& file_system, Hooks hooks)
      : fs_(file_system), hooks_(std::move(hooks)) {}

  uint64_t NewFileHandle() { return next_file_.fetch_add(1, std::memory_order_relaxed); }

  struct Request {
    InodeId ino = 0;
    fs::LockKind kind = fs::LockKind::kPosix;
    fs::LockType type = fs::LockType::kShared;
    uint64_t start = 0;
    uint64_t length = 0;
    uint64_t owner = 0;  // the kernel's number
    uint64_t file = 0;   // the handle of the open file
    uint32_t pid = 0;
  };
  // Answers `req`, now or later. On a session thread.
  void Set(fuse_req_t req, const Request& request, bool wait);
  Result<std::optional<fs::LockHolder>> Test(const fs::Caller& caller, const Request& request);

  // A descriptor of the owner's is closed.
  void Flush(const fs::Caller& caller, InodeId ino, uint64_t owner);
  // The open file is closed for good.
  void Release(const fs::Caller& caller, InodeId ino, uint64_t file);

  // Event::kLockGranted.
  void Granted(uint64_t cookie);
  // After Event::kAll: asks the server about every request that waits.
  void AskAgain();
  // Answers what waits: the mount is over, or its server is.
  void Stop();

 private:
  struct Holding {
    fs::LockKind kind = fs::LockKind::kPosix;
    uint64_t owner = 0;
    uint64_t file = 0;  // the latest one it locked by
  };
  struct Waiting {
    fuse_req_t req = nullptr;
    int reply_fd = -1;
    Request request;
    bool queued = false;       // the server has said so
    bool interrupted = false;  // before it has
  };

  static void OnInterrupt(fuse_req_t req, void* data);
  static fs::LockArgs ArgsOf(const Request& request, const std::string& owner);
  void Wait(fuse_req_t req, const Request& request);
  void Interrupt(fuse_req_t req);
  void CancelQueued(uint64_t cookie);
  // Whoever takes a waiting request out answers it.
  bool Take(uint64_t cookie, Waiting& waiting);
  void Answer(const Waiting& waiting, const Status& status);
  void NoteHolding(const Request& request);
  bool OthersHold(const Request& request);
  void GiveUp(const fs::Caller& caller, InodeId ino, const Holding& holding);
  template <typename Predicate>
  std::vector<Holding> TakeHoldings(InodeId ino, Predicate predicate);

  fs::FileSystem& fs_;
  const Hooks hooks_;
  std::atomic<uint64_t> next_file_ = 1;
  std::mutex mutex_;
  std::unordered_map<InodeId, std::vector<Holding>> holdings_;
  std::atomic<size_t> holders_ = 0;  // of them
  size_t giving_up_ = 0;             // taken out of holdings_, the server is being told
  std::unordered_map<uint64_t, Waiting> waiting_;  // by cookie
  uint64_t next_cookie_ = 1;
};

}  // namespace prism::mount
