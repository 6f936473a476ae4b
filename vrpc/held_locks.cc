#include "vrpc/held_locks.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "fs/contract/limits.h"

namespace prism::vrpc {
namespace {

uint64_t LastByte(const fs::LockArgs& args) {
  return args.length == 0 ? fs::kLockOffsetMax : args.start + args.length - 1;
}

}  // namespace

void HeldLocks::Put(const fs::LockArgs& args) {
  const uint64_t last = LastByte(args);
  std::vector<Range>& ranges = held_[{args.ino, args.kind, std::string(args.owner)}];
  std::vector<Range> kept;
  for (const Range& range : ranges) {
    if (range.end < args.start || range.start > last) {
      kept.push_back(range);
      continue;
    }
    if (range.start < args.start)
      kept.push_back({range.start, args.start - 1, range.type, range.pid});
    if (range.end > last) kept.push_back({last + 1, range.end, range.type, range.pid});
  }
  if (args.type != fs::LockType::kUnlock) kept.push_back({args.start, last, args.type, args.pid});
  ranges = std::move(kept);
  if (ranges.empty()) held_.erase({args.ino, args.kind, std::string(args.owner)});
}

void HeldLocks::Granted(const fs::LockArgs& args) {
  std::lock_guard lock(mutex_);
  if (args.wait) waiting_.erase(args.cookie);
  Put(args);
}

void HeldLocks::NotHeld(fs::LockArgs args) {
  args.type = fs::LockType::kUnlock;
  std::lock_guard lock(mutex_);
  Put(args);
}

void HeldLocks::Waits(const fs::LockArgs& args) {
  std::lock_guard lock(mutex_);
  Waiting waiting{.args = args, .owner = std::string(args.owner)};
  waiting.args.owner = {};
  waiting_[args.cookie] = std::move(waiting);
}

void HeldLocks::Refused(const fs::LockArgs& args) {
  std::lock_guard lock(mutex_);
  if (args.kind != fs::LockKind::kFlock || (args.wait && !waiting_.contains(args.cookie))) return;
  auto held = held_.find({args.ino, args.kind, std::string(args.owner)});
  if (held != held_.end() && held->second.front().type != args.type) held_.erase(held);
}

bool HeldLocks::IsToBeAsked(uint64_t cookie) {
  std::lock_guard lock(mutex_);
  auto found = waiting_.find(cookie);
  return found != waiting_.end() && !found->second.replayed;
}

void HeldLocks::WaitGranted(uint64_t cookie) {
  std::lock_guard lock(mutex_);
  auto found = waiting_.find(cookie);
  if (found == waiting_.end()) return;
  fs::LockArgs args = found->second.args;
  args.owner = found->second.owner;
  Put(args);
  waiting_.erase(found);
}

void HeldLocks::WaitEnded(uint64_t cookie) {
  std::lock_guard lock(mutex_);
  waiting_.erase(cookie);
}

void HeldLocks::Drop(InodeId ino, std::string_view owner_prefix) {
  std::lock_guard lock(mutex_);
  std::erase_if(held_, [&](const auto& entry) {
    const auto& [of, kind, owner] = entry.first;
    return (ino == 0 || of == ino) && owner.starts_with(owner_prefix);
  });
  std::erase_if(waiting_, [&](const auto& entry) {
    return (ino == 0 || entry.second.args.ino == ino) &&
           entry.second.owner.starts_with(owner_prefix);
  });
}

// Without the mutex while the server is asked: its events take it, and with the thread that waits
// there nobody would notice that this server goes too.
Status HeldLocks::Replay(fs::FileSystem& file_system, FunctionRef<void(const fs::Event&)> granted) {
  std::unique_lock lock(mutex_);
  const auto held = held_;
  for (auto& [cookie, waiting] : waiting_) waiting.replayed = true;
  const auto all_waiting = waiting_;
  lock.unlock();
  size_t left = 0;
  for (const auto& [whose, ranges] : held) left += ranges.size();
  for (const auto& [whose, ranges] : held) {
    const auto& [ino, kind, owner] = whose;
    for (const Range& range : ranges) {
      fs::LockArgs args{.ino = ino, .kind = kind, .type = range.type, .owner = owner};
      args.pid = range.pid;
      args.reclaim = --left > 0 ? fs::Reclaim::kYes : fs::Reclaim::kLast;
      if (kind != fs::LockKind::kFlock) {
        args.start = range.start;
        args.length = range.end == fs::kLockOffsetMax ? 0 : range.end - range.start + 1;
      }
      Status locked = file_system.Lock(fs::Caller{}, args);
      if (locked) continue;
      if (locked.error() == Err::kDisconnected) return locked;
      spdlog::error("inode {}: a lock was lost with the server: {}", ino, NameOf(locked.error()));
      NotHeld(args);
    }
  }
  for (const auto& [cookie, waiting] : all_waiting) {
    fs::LockArgs args = waiting.args;
    args.owner = waiting.owner;
    Status locked = file_system.Lock(fs::Caller{}, args);
    if (locked) {
      granted({fs::Event::Kind::kLockGranted, args.ino, {}, cookie});
    } else if (locked.error() == Err::kDisconnected) {
      return locked;
    } else if (locked.error() != Err::kAgain) {
      lock.lock();
      if (auto found = waiting_.find(cookie); found != waiting_.end())
        found->second.replayed = false;
      lock.unlock();
    }
  }
  return {};
}

}  // namespace prism::vrpc
