// Which clients hold which inode without links.
#pragma once

#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "fs/base/types.h"
#include "fs/core/clients.h"

namespace prism::fs {

// THREADS: any; a leaf lock.
class Holds {
 public:
  void Set(InodeId ino, std::vector<ClientId> holders) {
    std::lock_guard lock(mutex_);
    holders_[ino] = std::move(holders);
  }
  void Add(InodeId ino, ClientId holder) {
    std::lock_guard lock(mutex_);
    holders_[ino].push_back(holder);
  }
  void Forget(InodeId ino) {
    std::lock_guard lock(mutex_);
    holders_.erase(ino);
  }
  bool Contains(InodeId ino) const {
    std::lock_guard lock(mutex_);
    return holders_.contains(ino);
  }

  std::vector<InodeId> Inodes() const {
    std::lock_guard lock(mutex_);
    std::vector<InodeId> inodes;
    for (const auto& [ino, holders] : holders_) inodes.push_back(ino);
    return inodes;
  }

  enum class Drop { kNotHeld, kStillHeld, kLast };
  Drop Remove(ClientId client, InodeId ino) {
    std::lock_guard lock(mutex_);
    auto found = holders_.find(ino);
    if (found == holders_.end() || std::erase(found->second, client) == 0) return Drop::kNotHeld;
    if (!found->second.empty()) return Drop::kStillHeld;
    holders_.erase(found);
    return Drop::kLast;
  }
  // Those that only this client held.
  std::vector<InodeId> RemoveAll(ClientId client) {
    std::lock_guard lock(mutex_);
    std::vector<InodeId> last;
    for (auto at = holders_.begin(); at != holders_.end();) {
      std::erase(at->second, client);
      const bool unheld = at->second.empty();
      if (unheld) last.push_back(at->first);
      at = unheld ? holders_.erase(at) : std::next(at);
    }
    return last;
  }

 private:
  mutable std::mutex mutex_;
  std::unordered_map<InodeId, std::vector<ClientId>> holders_;
};

}  // namespace prism::fs
