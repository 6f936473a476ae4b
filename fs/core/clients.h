// The clients attached to a volume, and telling them what the others did, or gave up.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <string_view>
#include <vector>

#include "fs/contract/file_system.h"

namespace prism::fs {

using ClientId = uint64_t;  // unique within one VolumeCore

// What came of asking all clients to write what they hold.
struct BarrierResult {
  uint32_t asked = 0;
  uint32_t late = 0;     // did not answer in time
  uint32_t failed = 0;   // could not write everything
  uint32_t mute = 0;     // cannot be asked
  uint32_t network = 0;  // of NFS: cannot be asked either
};

// THREADS: any.
class Clients {
 public:
  ClientId Attach(bool holds_orphans);
  // Returns when no call of its listener is under way.
  void Detach(ClientId id);
  void SetListener(ClientId id, EventListener* listener);

  // Everybody attached now who holds what is unlinked.
  std::vector<ClientId> Holders() const;
  uint32_t count() const { return count_.load(std::memory_order_relaxed); }

  // To all listeners but `self`'s.
  void TellEntry(ClientId self, InodeId dir, std::string_view name) {
    if (count() > 1) Tell(self, Event::Kind::kEntry, dir, name);
  }
  void TellInode(ClientId self, InodeId ino) {
    if (count() > 1) Tell(self, Event::Kind::kInode, ino, {});
  }
  void TellOrphaned(ClientId self, InodeId ino) {
    if (count() > 1) Tell(self, Event::Kind::kOrphaned, ino, {});
  }
  // To everybody: nothing that they know of the volume need hold any more.
  void TellAll() { Tell(0, Event::Kind::kAll, 0, {}); }
  // To everybody: something that none of them has done.
  void TellAllOfEntry(InodeId dir, std::string_view name) {
    Tell(0, Event::Kind::kEntry, dir, name);
  }
  // To `client` alone, if it still listens.
  void TellGranted(ClientId client, InodeId ino, uint64_t cookie);

  // Event::kBarrier to all who answer it, and their answers. Who leaves meanwhile has nothing left.
  BarrierResult Barrier(std::chrono::milliseconds timeout);
  Status AnswerBarrier(ClientId client, uint64_t cookie, bool written);

 private:
  struct Client {
    ClientId id = 0;
    bool holds_orphans = true;
    EventListener* listener = nullptr;
  };
  struct Waiting {
    std::set<ClientId> silent;  // were asked and have not answered
    uint32_t failed = 0;
  };
  void Tell(ClientId self, Event::Kind kind, InodeId ino, std::string_view name);

  mutable std::shared_mutex mutex_;  // shared while listeners are called
  std::vector<Client> clients_;
  ClientId next_ = 1;
  std::atomic<uint32_t> count_{0};

  std::mutex barriers_mutex_;  // after mutex_
  std::condition_variable answered_;
  std::map<uint64_t, Waiting> barriers_;  // by cookie
  uint64_t next_barrier_ = 1;
};

}  // namespace prism::fs
