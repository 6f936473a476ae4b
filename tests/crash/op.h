// What the threads of a crash test do, as data: the test generates scripts, a worker process (which
// knows nothing of what is expected) performs them and says when each step begins and has returned.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"

namespace prism::crash {

enum class OpKind : uint8_t {
  kCreate,  // a regular file with `length` initial bytes of `tag`
  kMkdir,
  kSymlink,  // other: the target
  kFifo,
  kWrite,
  kWriteSync,  // Stability::kFileSync
  kTruncate,   // to `offset`
  kPunch,
  kZeroRange,
  kCopyRange,  // path, offset -> other, tag as the offset there
  kRename,
  kExchange,
  kLink,  // path -> the new name `other`
  kUnlink,
  kRmdir,
  kSetMode,
  kSetOwner,
  kSetMtime,
  kSetXattr,  // other: the name
  kRemoveXattr,
  kFsync,
  kSync,
  // of the thread that works on volumes; path and other are names of volumes
  kVolumeCreate,
  kVolumeClone,
  kVolumeSnapshot,  // path -> other, NAME@LABEL
  kVolumeRollback,  // path: NAME@LABEL
  kVolumeDestroy,   // with its snapshots
  kVolumeRename,
  kCheckpoint,
  kFlush,
  kPause,  // length: milliseconds
};

struct Op {
  OpKind kind = OpKind::kPause;
  std::string path;  // from the volume's root, without a leading slash
  std::string other;
  uint64_t offset = 0;
  uint64_t length = 0;
  uint64_t tag = 0;
  uint32_t mode = 0;
};

std::string Describe(const Op& op);

struct ThreadScript {
  std::string volume;  // empty: the thread that works on volumes
  std::vector<Op> ops;
};

using Script = std::vector<ThreadScript>;

std::string EncodeScript(const Script& script);
Script DecodeScript(std::string_view bytes);

// What a worker tells while it works, in an order that respects causality.
struct Event {
  enum class Kind : uint32_t { kOpened, kBegin, kEnd, kDone, kClosed };
  Kind kind = Kind::kOpened;
  uint32_t thread = 0;
  uint32_t op = 0;
  uint32_t error = 0;  // kEnd: an Err
};
static_assert(sizeof(Event) == 16, "sent through a pipe as it is");

}  // namespace prism::crash
