// The clients attached to a volume, and telling them what the others did, or gave up.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <shared_mutex>
#include <string_view>
#include <vector>

#include "fs/contract/file_system.h"

namespace prism::fs {

using ClientId = uint64_t;  // unique within one VolumeCore

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
  // To `client` alone, if it still listens.
  void TellGranted(ClientId client, InodeId ino, uint64_t cookie);

 private:
  struct Client {
    ClientId id = 0;
    bool holds_orphans = true;
    EventListener* listener = nullptr;
  };
  void Tell(ClientId self, Event::Kind kind, InodeId ino, std::string_view name);

  mutable std::shared_mutex mutex_;  // shared while listeners are called
  std::vector<Client> clients_;
  ClientId next_ = 1;
  std::atomic<uint32_t> count_{0};
};

}  // namespace prism::fs
