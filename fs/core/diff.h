// What differs between two volumes, file by file.
//
// The cost is that of the differences: parts of the trees that both share are not looked into. Two
// inodes are the same file when number, type and birth time agree; clones keep all of these.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/base/error.h"
#include "fs/contract/attr.h"

namespace prism::fs {

inline constexpr uint64_t kDiffItemsMax = 4'000'000;  // differing items; more are kTooBig

struct DiffOptions {
  // Bytes are compared where what stores them differs: files that were written with what they had
  // are no changes, and each change says which bytes.
  bool content = false;
  uint64_t changes_max = 100000;  // listed; all are counted
};

struct DataRange {
  uint64_t offset = 0;
  uint64_t length = 0;
  bool operator==(const DataRange&) const = default;
};

// One name that is in one volume alone, is another one there, or is in both and its file differs.
// A directory that was renamed with all that is in it is one change.
struct FileChange {
  enum class Kind : uint8_t { kAdded, kRemoved, kRenamed, kChanged };
  Kind kind = Kind::kChanged;
  std::string path;  // from the volume's root, which is "/"; as in the second, unless kRemoved
  std::string from;  // kRenamed: in the first
  FileType type = FileType::kRegular;
  // kRenamed and kChanged. Data: bytes, the target of a symlink. Attributes: type, mode, owner,
  // mtime, device, extended attributes and ACLs; not atime, ctime, link counts.
  bool data = false;
  bool attributes = false;
  uint64_t old_size = 0;
  uint64_t new_size = 0;
  std::vector<DataRange> ranges;  // with DiffOptions::content, of kChanged and kRenamed files
};

struct DiffResult {
  std::vector<FileChange> changes;  // by path
  bool truncated = false;           // there were more than changes_max
  uint64_t added = 0;
  uint64_t removed = 0;
  uint64_t renamed = 0;
  uint64_t changed_data = 0;        // renamed ones too
  uint64_t changed_attributes = 0;  // these with unchanged data only
  uint64_t nodes_visited = 0;       // the cost, in nodes of the trees
};

}  // namespace prism::fs
