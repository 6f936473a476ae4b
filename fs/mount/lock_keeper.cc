#include "fs/mount/lock_keeper.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "fs/mount/fuse_reply.h"
#include "fs/mount/worker.h"

namespace prism::mount {
namespace {

std::string BytesOf(uint64_t owner) {
  return std::string(reinterpret_cast<const char*>(&owner), sizeof owner);
}

}  // namespace

fs::LockArgs LockKeeper::ArgsOf(const Request& request, const std::string& owner) {
  return {.ino = request.ino,
          .kind = request.kind,
          .type = request.type,
          .start = request.start,
          .length = request.length,
          .owner = owner,
          .pid = request.pid};
}

void LockKeeper::Set(fuse_req_t req, const Request& request, bool wait) {
  // Noted first: a FLUSH that comes while the server is asked must find it.
  if (request.type != fs::LockType::kUnlock) NoteHolding(request);
  if (wait && request.type != fs::LockType::kUnlock) return Wait(req, request);
  auto ask = [this, req, request] {
    const std::string owner = BytesOf(request.owner);
    return fs_.Lock(CallerOf(req), ArgsOf(request, owner));
  };
  const bool others = OthersHold(request);
  const Status status = ask();
  if (status || status.error() != Err::kAgain || !others) return ReplyStatus(req, status);
  hooks_.run_later([this, req, ask] {
    hooks_.wait_quiescent();
    ReplyStatus(req, ask());
  });
}

Result<std::optional<fs::LockHolder>> LockKeeper::Test(const fs::Caller& caller,
                                                       const Request& request) {
  return fs_.TestLock(caller, ArgsOf(request, BytesOf(request.owner)));
}

void LockKeeper::Wait(fuse_req_t req, const Request& request) {
  const fs::Caller caller = CallerOf(req);
  uint64_t cookie = 0;
  {
    std::lock_guard lock(mutex_);
    cookie = next_cookie_++;
    waiting_[cookie] = {.req = req, .reply_fd = Worker::ReplyDescriptor(), .request = request};
  }
  // The server does not know the cookie yet, so until it does nobody answers but us.
  fuse_req_interrupt_func(req, OnInterrupt, this);
  const std::string owner = BytesOf(request.owner);
  fs::LockArgs args = ArgsOf(request, owner);
  args.wait = true;
  args.cookie = cookie;
  const Status status = fs_.Lock(caller, args);
  if (!status && status.error() == Err::kAgain) {
    bool interrupted = false;
    {
      std::lock_guard lock(mutex_);
      auto found = waiting_.find(cookie);
      if (found == waiting_.end()) return;  // granted and answered
      found->second.queued = true;
      interrupted = found->second.interrupted;
    }
    if (interrupted) CancelQueued(cookie);
    return;
  }
  Waiting waiting;
  if (Take(cookie, waiting)) Answer(waiting, status);
}

void LockKeeper::OnInterrupt(fuse_req_t req, void* data) {
  static_cast<LockKeeper*>(data)->Interrupt(req);
}

void LockKeeper::Interrupt(fuse_req_t req) {
  uint64_t cookie = 0;
  {
    std::lock_guard lock(mutex_);
    auto found = std::find_if(waiting_.begin(), waiting_.end(),
                              [&](const auto& item) { return item.second.req == req; });
    if (found == waiting_.end()) return;
    found->second.interrupted = true;
    if (!found->second.queued) return;  // who is asking the server sees to it
    cookie = found->first;
  }
  CancelQueued(cookie);
}

void LockKeeper::CancelQueued(uint64_t cookie) {
  const Status canceled = fs_.CancelLock(fs::Caller{}, cookie);
  Waiting waiting;
  if (!Take(cookie, waiting)) return;
  // Granted meanwhile; the event comes too late.
  if (!canceled && canceled.error() == Err::kNoEntry) return Answer(waiting, {});
  Worker::AnswerThrough(waiting.reply_fd, [&] { fuse_reply_err(waiting.req, EINTR); });
}

bool LockKeeper::Take(uint64_t cookie, Waiting& waiting) {
  std::lock_guard lock(mutex_);
  auto found = waiting_.find(cookie);
  if (found == waiting_.end()) return false;
  waiting = found->second;
  waiting_.erase(found);
  return true;
}

void LockKeeper::Answer(const Waiting& waiting, const Status& status) {
  Worker::AnswerThrough(waiting.reply_fd, [&] { ReplyStatus(waiting.req, status); });
}

void LockKeeper::Granted(uint64_t cookie) {
  Waiting waiting;
  if (Take(cookie, waiting)) Answer(waiting, {});
}

void LockKeeper::AskAgain() {
  std::vector<std::pair<uint64_t, Request>> queued;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [cookie, waiting] : waiting_)
      if (waiting.queued) queued.emplace_back(cookie, waiting.request);
  }
  for (const auto& [cookie, request] : queued) {
    const std::string owner = BytesOf(request.owner);
    const Status status = fs_.Lock(fs::Caller{}, ArgsOf(request, owner));
    if (!status && status.error() == Err::kAgain) continue;
    if (!status) (void)fs_.CancelLock(fs::Caller{}, cookie);
    Waiting waiting;
    if (Take(cookie, waiting)) Answer(waiting, status);
  }
}

void LockKeeper::Stop() {
  std::unordered_map<uint64_t, Waiting> waiting;
  {
    std::lock_guard lock(mutex_);
    waiting.swap(waiting_);
  }
  for (const auto& [cookie, one] : waiting) Answer(one, Fail(Err::kDisconnected));
}

void LockKeeper::NoteHolding(const Request& request) {
  std::lock_guard lock(mutex_);
  std::vector<Holding>& holdings = holdings_[request.ino];
  auto found = std::find_if(holdings.begin(), holdings.end(), [&](const Holding& holding) {
    return holding.kind == request.kind && holding.owner == request.owner;
  });
  if (found != holdings.end()) {
    found->file = request.file;
    return;
  }
  holdings.push_back({request.kind, request.owner, request.file});
  ++holders_;
}

// Of this mount; or did a moment ago.
bool LockKeeper::OthersHold(const Request& request) {
  std::lock_guard lock(mutex_);
  if (giving_up_ > 0) return true;
  auto found = holdings_.find(request.ino);
  if (found == holdings_.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const Holding& holding) {
    return holding.kind == request.kind && holding.owner != request.owner;
  });
}

template <typename Predicate>
std::vector<LockKeeper::Holding> LockKeeper::TakeHoldings(InodeId ino, Predicate predicate) {
  std::vector<Holding> taken;
  std::lock_guard lock(mutex_);
  auto found = holdings_.find(ino);
  if (found == holdings_.end()) return taken;
  std::erase_if(found->second, [&](const Holding& holding) {
    if (!predicate(holding)) return false;
    taken.push_back(holding);
    return true;
  });
  holders_ -= taken.size();
  giving_up_ += taken.size();
  if (found->second.empty()) holdings_.erase(found);
  return taken;
}

void LockKeeper::GiveUp(const fs::Caller& caller, InodeId ino, const Holding& holding) {
  const std::string owner = BytesOf(holding.owner);
  const Request all{.ino = ino, .kind = holding.kind, .type = fs::LockType::kUnlock};
  const Status status = fs_.Lock(caller, ArgsOf(all, owner));
  if (!status) spdlog::debug("giving up locks of inode {}: {}", ino, NameOf(status.error()));
  std::lock_guard lock(mutex_);
  --giving_up_;
}

void LockKeeper::Flush(const fs::Caller& caller, InodeId ino, uint64_t owner) {
  if (holders_.load(std::memory_order_relaxed) == 0) return;
  const auto taken = TakeHoldings(ino, [&](const Holding& holding) {
    return holding.kind == fs::LockKind::kPosix && holding.owner == owner;
  });
  for (const Holding& holding : taken) GiveUp(caller, ino, holding);
}

void LockKeeper::Release(const fs::Caller& caller, InodeId ino, uint64_t file) {
  if (holders_.load(std::memory_order_relaxed) == 0) return;
  const auto taken =
      TakeHoldings(ino, [&](const Holding& holding) { return holding.file == file; });
  for (const Holding& holding : taken) GiveUp(caller, ino, holding);
}

}  // namespace prism::mount
