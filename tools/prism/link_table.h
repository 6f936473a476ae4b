// Which files with several names have been copied already, for several threads that meet them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

namespace prism::tool {

// The first thread to Claim a file makes its copy and then Resolves it; others wait meanwhile. A
// file is forgotten when all of its names have come by, so memory is bounded by the files whose
// names are still to come. Should more names come than were promised (a source that changes), the
// file is copied anew.
template <typename Key, typename Copy>
class LinkTable {
 public:
  // True: `known` is the copy, or empty if the caller is to make it and then must call Resolve.
  // False: somebody's making it has failed.
  bool Claim(const Key& key, uint64_t names, std::optional<Copy>& known) {
    std::unique_lock lock(mutex_);
    while (!failed_) {
      auto [it, inserted] = slots_.try_emplace(key);
      if (inserted) {
        it->second.names_left = names - 1;
        return true;
      }
      if (it->second.copy) {
        known = it->second.copy;
        if (--it->second.names_left == 0) slots_.erase(it);
        return true;
      }
      resolved_.wait(lock);
    }
    return false;
  }

  // Nothing: making the copy has failed.
  void Resolve(const Key& key, std::optional<Copy> copy) {
    std::lock_guard lock(mutex_);
    if (copy)
      slots_[key].copy = std::move(copy);
    else
      failed_ = true;
    resolved_.notify_all();
  }

 private:
  struct Slot {
    std::optional<Copy> copy;
    uint64_t names_left = 0;
  };

  std::mutex mutex_;
  std::condition_variable resolved_;
  bool failed_ = false;
  std::map<Key, Slot> slots_;
};

}  // namespace prism::tool
