// Advisory byte-range locks: what FileSystem::Lock and its like work with.
//
// The semantics are those of fcntl(2) and flock(2). Locks hold nobody up but those who ask for
// locks. They belong to the volume: all its clients (mounts, NFS) see the same ones. They live in
// the server's memory: they go when their client goes, and a clone has none.
//
// OWNERS: locks of one owner never conflict with each other; a new one replaces what the same owner
// holds of its range (it is split, merged, raised or lowered as asked). An owner is the client (the
// FileSystem object), the kind, and bytes that the client chooses.
// RECLAIMING: a client that resumes with a new server (Host::Resume) asks for what it held and says
// so. Until all who held locks of a volume have, or Host's grace is over, the others' requests are
// answered as if somebody held what they want.
// CONFLICTS: two locks of different owners that overlap, of which at least one is exclusive. Locks
// of kinds kPosix and kFlock do not see each other, as on Linux; kNetwork conflicts with both,
// because NLM does not say which of the two system calls asked.
// RAISING: a kPosix or kNetwork owner keeps what it has while it waits for more, and if it gets no
// more. A kFlock owner that is not given the other type at once has given up the one it had
// (flock(2), "not guaranteed to be atomic").
// WAITING: nobody waits inside of a call. A request that conflicts and says `wait` is queued and
// answered with kAgain; what later makes it possible grants it, and its client is told by
// Event::kLockGranted. Waiters of a file are looked at in the order in which they came. A request
// that would close a circle of waiting owners is kDeadlock (not for kFlock: flock(2) does not look
// either).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/types.h"

namespace prism::fs {

enum class LockKind : uint8_t { kPosix = 0, kFlock = 1, kNetwork = 2 };

enum class LockType : uint8_t { kUnlock = 0, kShared = 1, kExclusive = 2 };

enum class Reclaim : uint8_t {
  kNo = 0,
  kYes = 1,   // the client had this lock from the server before this one
  kLast = 2,  // and with it has asked for all that it had
};

struct LockArgs {
  InodeId ino = 0;
  LockKind kind = LockKind::kPosix;
  LockType type = LockType::kShared;
  // Both 0 for kFlock. The last byte is at most kLockOffsetMax; a length of 0 means up to there.
  uint64_t start = 0;
  uint64_t length = 0;
  std::string_view owner;  // at most kLockOwnerMax bytes
  uint32_t pid = 0;        // told to those who test
  bool wait = false;
  uint64_t cookie = 0;  // with wait: names the request; unique among those of the client that wait
  Reclaim reclaim = Reclaim::kNo;
};

// A lock that stands in somebody's way.
struct LockHolder {
  LockKind kind = LockKind::kPosix;
  LockType type = LockType::kShared;
  uint64_t start = 0;
  uint64_t length = 0;  // 0: to the end
  uint32_t pid = 0;
  bool own_client = false;  // it is the asking client's: pid and owner are its own numbers
  std::string owner;
};

}  // namespace prism::fs
