// What the shim (tests/crash/power_shim.cc) writes down, and the test reads: every change that a
// process asks of the files below its store, and when it asked for them to be on disk.
#pragma once

#include <cstdint>

namespace prism::crash {

struct PowerRecord {
  enum class Kind : uint32_t {
    kOpen = 1,    // path; flags: PowerOpenFlags; a handle names what was opened from here on
    kWrite,       // handle, offset, `length` bytes follow unless flags say that they are zeros
    kTruncate,    // handle, offset: the new size
    kZero,        // handle, offset, length
    kGrow,        // handle, offset: the size is at least that
    kSyncBegin,   // handle, offset: a number for the matching end
    kSyncEnd,     // the same; what was written before the begin is on disk
    kSyncFailed,  // the same; the kernel forgets that it had to write
    kRename,      // path, path2
    kUnlink,      // path
    kMkdir,       // path
    kMark,        // `length` bytes of the process's own
  };
  Kind kind = Kind::kOpen;
  uint32_t flags = 0;
  uint64_t handle = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint32_t path_bytes = 0;   // they follow, relative to the store
  uint32_t path2_bytes = 0;  // then these, then the data
};
static_assert(sizeof(PowerRecord) == 40, "written to a file as it is");

enum PowerFlags : uint32_t {
  kPowerTruncated = 1,  // kOpen
  kPowerDirectory = 2,  // kOpen
  kPowerZeros = 4,      // kWrite: no bytes follow
};

// The environment of the shim.
inline constexpr const char* kShimStore = "PRISM_SHIM_STORE";  // absolute: what is watched
inline constexpr const char* kShimLog = "PRISM_SHIM_LOG";      // where the records go
// "CLASS N ERRNO once|always": the n-th call of a class fails, or all from it on. Classes: write,
// sync, name (open to create, rename, unlink, mkdir), read.
inline constexpr const char* kShimFail = "PRISM_SHIM_FAIL";
inline constexpr const char* kShimFired = "PRISM_SHIM_FIRED";  // a file that says which call failed
// "syncPART": syncs of files whose paths contain PART do nothing and succeed; "write": one of
// twenty writes likewise.
inline constexpr const char* kShimLie = "PRISM_SHIM_LIE";

}  // namespace prism::crash
