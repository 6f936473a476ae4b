// What `prism compose` is told, and what `prism explain` tells.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/types.h"

namespace prism::fs {

// Paths are absolute; symlinks on them are not followed. Rules are followed in their order, each on
// what those before it have left.
struct ComposeRule {
  enum class Kind : uint8_t {
    kGraft,     // what `source` has at `from` becomes `path`
    kExclude,   // what matches `path` goes; its names may have wildcards (fnmatch(3))
    kEmpty,     // the directory `path` has nothing in it
    kVolatile,  // the same, and so again in each clone and snapshot of the volume
  };
  Kind kind = Kind::kGraft;
  std::string source;  // a volume or NAME@LABEL
  std::string from;
  std::string path;
  bool read_only = false;  // kGraft: changes of what came with it are kReadOnly

  std::string Text() const;  // as on the command line
};

struct Preparation;  // fs/core/host.h

struct ComposeOptions {
  std::string base;  // empty: the volume begins empty
  std::vector<ComposeRule> rules;
  // Done to the volume by its own name, when the rules have been followed and before it is there
  // for anybody. What came read-only stays so: changing it is a failure of the whole.
  const Preparation* preparation = nullptr;
};

// Where a file comes from. The first is the volume itself, or what it was grafted from; where that
// was composed itself the next says where it had it from.
struct FileOrigin {
  std::string volume;   // the source's name at the cut; empty: made in the volume itself
  std::string path;     // there
  std::string rule;     // by which it came; empty: none
  int64_t cut_sec = 0;  // when
  bool read_only = false;
};

struct Explanation {
  InodeId ino = 0;
  std::vector<FileOrigin> origins;  // at least one
  bool changed = false;             // data, attributes or entries, since it came
};

}  // namespace prism::fs
