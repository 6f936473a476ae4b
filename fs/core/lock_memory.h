// Of which volumes clients have locks: known to the next server when this one is killed or stopped,
// so that what was locked is kept for those who come back to it.
//
// Locks live in the server's memory, and a client that resumes asks for its own again. Until all
// clients that had some have done so, or the grace is over, nobody else gets a lock of that volume:
// RFC 1813's companion NLM has the same ("grace period"). Only how many clients had locks is kept,
// in memory that a boot of the machine ends (cow/boot_memory.h), as it ends these clients.
//
// STORE/held-locks: an area of kSlots of (volume u64, clients u64) behind a header; cow/FORMAT.md.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "cow/boot_memory.h"
#include "fs/base/types.h"

namespace prism::fs {

// THREADS: any. Without Open, nothing was locked and nothing is kept.
class LockMemory {
 public:
  // A file that cannot be had is logged. `grace`: whether those who had locks are waited for.
  void Open(const std::string& path, bool grace);

  // Clients that had locks of this volume when the last server ended and are not back yet.
  uint64_t Awaited(VolumeId volume) const;
  // One of them has all its locks again. Returns Awaited.
  uint64_t Returned(VolumeId volume);
  // The grace is over: nobody is awaited any more.
  void GiveUp();

  void SetHolders(VolumeId volume, uint64_t clients);
  // The server stops, and its clients will resume: what is kept stays as it is.
  void Keep();

 private:
  struct Slot {
    uint64_t volume;
    uint64_t clients;
  };
  struct Header;
  struct Volume {
    uint64_t awaited = 0;
    uint64_t holders = 0;
    Slot* slot = nullptr;
  };
  // More volumes with locks than this are not known to the next server.
  static constexpr size_t kSlots = 4092;

  void Store(VolumeId id, Volume& volume);  // REQUIRES: mutex_

  std::atomic<uint64_t> awaited_{0};  // of all volumes: mostly 0, and then nothing is locked here
  mutable std::mutex mutex_;          // a leaf; of what follows
  cow::BootMemory memory_;
  std::unordered_map<VolumeId, Volume> volumes_;
  std::vector<Slot*> free_;
  bool keeps_ = false;
};

}  // namespace prism::fs
