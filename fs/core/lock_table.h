// The locks of one volume, and the requests that wait for one. fs/contract/lock.h says what they
// mean.
//
// Per inode with locks: the ranges that are held, disjoint within one owner, in one array; and the
// waiting requests, in the order in which they came. All inodes' lists are under one mutex: an
// operation walks one list, of at most kLocksPerInodeMax. Setting a range takes it out of what the
// owner has (which may leave a piece on either side), joins it with neighbours of the same type,
// and then walks the waiting requests: each that conflicts with nothing any more is granted. A
// request that conflicts with nothing that is held is granted at once, whoever waits: as on Linux,
// a stream of readers can keep a writer waiting, and nobody ever waits for a waiter, so a circle of
// waiting can only be closed by a new request. That is looked for, depth first, from the owners in
// the request's way over the requests that those wait with themselves.
//
// Owners are kept once each, whatever the number of their ranges.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/error.h"
#include "fs/contract/lock.h"
#include "fs/core/clients.h"
#include "fs/core/lock_memory.h"

namespace prism::fs {

// THREADS: any.
class LockTable {
 public:
  // A waiting request that is not waiting any more, because it has its lock: to be told to its
  // client after the call that says so.
  struct Grant {
    ClientId client = 0;
    InodeId ino = 0;
    uint64_t cookie = 0;
  };
  using Grants = std::vector<Grant>;

  // `memory` outlives the table and is told of clients with locks of this volume.
  LockTable(LockMemory& memory, VolumeId volume) : memory_(memory), volume_(volume) {}

  // Errors as FileSystem::Lock, but for the inode and the caller, which are not looked at. `grants`
  // is to be told in any case.
  Status Set(ClientId client, const LockArgs& args, Grants& grants);
  Result<std::optional<LockHolder>> Test(ClientId client, const LockArgs& args) const;
  Status Cancel(ClientId client, uint64_t cookie);
  // ino 0: of all inodes.
  void Drop(ClientId client, InodeId ino, std::string_view owner_prefix, Grants& grants);

  // The memory has given those up who had locks: who has waited for them gets his.
  void EndGrace(Grants& grants);

  // Ranges held and requests waiting.
  size_t size() const { return size_.load(std::memory_order_relaxed); }

 private:
  struct Waiter;
  struct Owner {
    ClientId client = 0;
    LockKind kind = LockKind::kPosix;
    std::string key;                     // client, kind, bytes
    size_t uses = 0;                     // ranges and requests
    std::vector<const Waiter*> waiters;  // its requests
    std::string_view bytes() const;
  };
  struct Span {
    LockType type = LockType::kShared;
    uint64_t first = 0;
    uint64_t last = 0;  // inclusive
    uint32_t pid = 0;
  };
  struct Range {
    Owner* owner = nullptr;
    Span span;
  };
  struct Waiter {
    Owner* owner = nullptr;
    Span span;
    InodeId ino = 0;
    uint64_t cookie = 0;
  };
  struct Inode {
    std::vector<Range> held;
    std::list<Waiter> waiting;
    size_t size() const { return held.size() + waiting.size(); }
  };
  struct Client {
    size_t size = 0;                                // ranges and requests
    size_t held = 0;                                // ranges
    std::unordered_map<uint64_t, InodeId> waiting;  // by cookie
  };

  static Status Check(const LockArgs& args);
  static Span SpanOf(const LockArgs& args);
  static std::string KeyOf(ClientId client, LockKind kind, std::string_view bytes);
  static bool Conflict(const Range& held, const Owner& owner, const Span& span);
  static const Range* FindConflict(const Inode& inode, const Owner& owner, const Span& span);
  static std::vector<Range> Carve(const Inode& inode, Owner& owner, const Span& span);

  Owner& Intern(ClientId client, LockKind kind, std::string_view bytes);
  // `count` more uses, or less; the last one's end is the owner's.
  void Use(Owner& owner, ptrdiff_t count);
  void Hold(Owner& owner, ptrdiff_t count);  // the same, of ranges
  bool IsHeldBack(const LockArgs& args) const;
  Status CheckRoom(const Inode& inode, const Owner& owner, size_t more) const;
  Status SetLocked(Inode& inode, Owner& owner, const LockArgs& args, Grants& grants);
  void Install(Inode& inode, Owner& owner, std::vector<Range> held);
  void GiveUpFlock(Inode& inode, Owner& owner, LockType wanted, Grants& grants, InodeId ino);
  Status Queue(Inode& inode, Owner& owner, const LockArgs& args);
  bool ClosesCircle(const Inode& inode, const Owner& asker, const Span& span) const;
  void Unqueue(Inode& inode, std::list<Waiter>::iterator waiter);
  void Wake(InodeId ino, Inode& inode, Grants& grants);
  void WakeAll(Grants& grants);
  void DropOf(InodeId ino, Inode& inode, std::string_view client, std::string_view prefix,
              Grants& grants);

  LockMemory& memory_;
  const VolumeId volume_;
  mutable std::mutex mutex_;
  size_t holders_ = 0;                         // clients that hold a range
  std::unordered_map<InodeId, Inode> inodes_;  // those with locks
  std::unordered_map<std::string, std::unique_ptr<Owner>> owners_;
  std::unordered_map<ClientId, Client> clients_;
  std::atomic<size_t> size_ = 0;
};

}  // namespace prism::fs
