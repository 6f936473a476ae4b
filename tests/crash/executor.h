// Performs the operations of a script on a file system, through the contract alone.
#pragma once

#include <optional>
#include <string_view>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"
#include "tests/crash/realm.h"

namespace prism::crash {

// THREADS: any; it keeps nothing.
class Executor {
 public:
  explicit Executor(fs::FileSystem& fs) : fs_(fs) {}
  Status Run(const Op& op);

 private:
  struct Place {
    InodeId directory = 0;
    std::string_view name;
  };
  Result<InodeId> Resolve(std::string_view path);
  Result<Place> ResolveParent(std::string_view path);
  Status Create(const Op& op);
  Status Write(const Op& op, InodeId ino);
  Status Copy(const Op& op, InodeId ino);
  Status Rename(const Op& op);
  Status Remove(const Op& op);
  Status Change(const Op& op, InodeId ino);

  fs::FileSystem& fs_;
};

// The operations on volumes.
Status RunOnHost(fs::Host& host, const Op& op);

// Reads everything. What does not hold together is told in `errors`, a line each.
Volume ReadVolume(fs::FileSystem& fs, std::optional<uint64_t> inodes_expected, std::string& errors);

}  // namespace prism::crash
