// DOS sharing modes (SHARE, UNSHARE): who has a file open for what, and what he lets others do.
// Seen by other clients of this protocol only, and advisory as locks are.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/types.h"

namespace prism::nlm {

// THREADS: any.
class ShareTable {
 public:
  static constexpr size_t kSharesMax = 16384;
  struct File {
    VolumeId volume = 0;
    InodeId ino = 0;
    auto operator<=>(const File&) const = default;
  };

  // Replaces what the owner has of the file. kAgain: in conflict; kNoLocks: too many.
  Status Set(const File& file, uint64_t machine, const std::string& owner, uint32_t access,
             uint32_t mode);
  void Remove(const File& file, uint64_t machine, const std::string& owner);
  void Drop(uint64_t machine);

 private:
  struct Share {
    uint64_t machine = 0;
    std::string owner;
    uint32_t access = 0;
    uint32_t mode = 0;
  };
  std::mutex mutex_;
  std::map<File, std::vector<Share>> files_;
  size_t shares_ = 0;
};

}  // namespace prism::nlm
