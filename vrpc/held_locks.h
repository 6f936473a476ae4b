// The locks that a client has and waits for: the server keeps them in memory, so after a restart
// they have to be asked for again.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "fs/base/function_ref.h"
#include "fs/contract/file_system.h"

namespace prism::vrpc {

// THREADS: any.
class HeldLocks {
 public:
  // The server has done this, an unlocking too; it does not wait any more.
  void Granted(const fs::LockArgs& args);
  // Of its range nothing is held.
  void NotHeld(fs::LockArgs args);
  // Before the server is asked, because the event may come before its answer.
  void Waits(const fs::LockArgs& args);
  // It has not granted this now: flock(2) has given up what the owner held of the other type,
  // unless the event came.
  void Refused(const fs::LockArgs& args);
  // It waits, but Replay has not asked for it, or was refused: whoever wants it has to ask.
  bool IsToBeAsked(uint64_t cookie);
  // The event has come, or a canceling came too late: it is held now.
  void WaitGranted(uint64_t cookie);
  void WaitEnded(uint64_t cookie);
  // As FileSystem::DropLocks.
  void Drop(InodeId ino, std::string_view owner_prefix);

  // Asks a server that knows nothing for all of it: what is held first. `granted` is called for
  // what waited and need not any more. A lock that somebody else has taken meanwhile is logged, and
  // gone. kDisconnected: it has to be done once more.
  Status Replay(fs::FileSystem& file_system, FunctionRef<void(const fs::Event&)> granted);

 private:
  struct Range {
    uint64_t start = 0;
    uint64_t end = 0;  // of the last byte
    fs::LockType type = fs::LockType::kShared;
    uint32_t pid = 0;
  };
  using Owner = std::tuple<InodeId, fs::LockKind, std::string>;
  struct Waiting {
    fs::LockArgs args;  // without its owner
    std::string owner;
    bool replayed = false;
  };
  void Put(const fs::LockArgs& args);  // REQUIRES: mutex_

  std::mutex mutex_;
  std::map<Owner, std::vector<Range>> held_;
  std::map<uint64_t, Waiting> waiting_;  // by cookie
};

}  // namespace prism::vrpc
