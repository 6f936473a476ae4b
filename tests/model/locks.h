// The locks of a model volume: one list of ranges, one list of those who wait.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "fs/base/error.h"
#include "fs/contract/file_system.h"

namespace prism::model {

struct Locks {
  // Whose: the client, the kind and the client's bytes for it.
  using Owner = std::tuple<const void*, fs::LockKind, std::string>;
  struct Entry {
    Owner owner;
    InodeId ino = 0;
    bool exclusive = false;
    uint64_t first = 0;
    uint64_t last = 0;
    uint32_t pid = 0;
    uint64_t cookie = 0;  // of a request
  };

  std::vector<Entry> held;
  std::vector<Entry> waiting;  // in the order in which they came

  Status Set(const void* client, const fs::LockArgs& args);
  Result<std::optional<fs::LockHolder>> Test(const void* client, const fs::LockArgs& args) const;
  Status Cancel(const void* client, uint64_t cookie);
  void Drop(const void* client, InodeId ino, const std::string& prefix);
  // Requests that can be granted now: they hold, and do not wait.
  std::vector<Entry> GrantWhatCan();

 private:
  static bool Conflict(const Entry& a, const Entry& b);
  std::vector<Entry> InTheWayOf(const Entry& wanted) const;
  bool WaitsFor(const Owner& waiter, const Owner& asker, std::vector<Owner>& seen) const;
  std::vector<Entry> With(const Entry& change, bool unlock) const;
  bool Fits(const Entry& entry, size_t ranges, size_t requests) const;
};

}  // namespace prism::model
