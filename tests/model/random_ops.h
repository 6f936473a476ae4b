// Random operations of the file-system contract: what one is, how it is drawn, how it is done, and
// what its reply is, in a form in which the replies of two implementations can be compared.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fs/contract/file_system.h"

namespace prism::model {

// SplitMix64: the same numbers for the same seed everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next();
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  template <typename T>
  const T& Pick(const std::vector<T>& from) {
    return from[Below(from.size())];
  }

 private:
  uint64_t state_;
};

enum class OpKind : uint8_t {
  kCreate,
  kLink,
  kUnlink,
  kRmdir,
  kRename,
  kLookup,
  kReaddir,
  kGetattr,
  kSetattr,
  kAccess,
  kReadlink,
  kRead,
  kWrite,
  kFallocate,
  kSeek,
  kCopyRange,
  kGetxattr,
  kSetxattr,
  kListxattr,
  kRemovexattr,
  kFsync,
  kSync,
  kStatfs,
  kRelease,
};

// One operation on one volume. Inodes are places in the runner's table of handles, which knows each
// side's numbers for them.
struct Operation {
  OpKind kind = OpKind::kCreate;
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  bool check_permission = false;

  size_t target = 0;  // the inode, or the directory
  size_t other = 0;   // Rename's and CopyRange's second, Link's inode
  std::string name;
  std::string other_name;
  fs::FileType type = fs::FileType::kRegular;
  fs::Exclusivity exclusivity = fs::Exclusivity::kGuarded;
  uint64_t verifier = 0;
  uint32_t mode = 0;
  uint32_t umask = 0;
  fs::SetAttr changes;
  uint64_t offset = 0;
  uint64_t other_offset = 0;
  uint64_t length = 0;
  std::string data;  // of writes, of xattrs, symlink targets
  bool append = false;
  bool kill_privileges = false;
  bool with_attr = false;
  uint32_t flags = 0;  // Rename, and the enumerations of Fallocate, Seek, Setxattr; Access' mask

  std::string Describe() const;
};

// A name that was probably made and is probably still there.
struct EntryHint {
  size_t directory = 0;
  std::string name;
  bool is_directory = false;
};

// What an operation is to choose from: places in the table of handles.
struct Choices {
  std::vector<size_t> directories;  // never empty; may hold removed ones
  std::vector<size_t> files;        // never empty
  std::vector<size_t> any;
  std::vector<size_t> orphans;
  std::vector<EntryHint> entries;
};

Operation Draw(Random& random, const Choices& choices);

// What came back. Attributes are compared one by one; the rest is text that must be equal.
struct Reply {
  Err err = Err::kOk;
  std::vector<fs::Attr> attrs;
  std::string text;
  uint64_t number = 0;  // Seek's and CopyRange's; compared by the runner
  bool created = false;
};

Reply Perform(fs::FileSystem& file_system, const Operation& operation, InodeId target,
              InodeId other);

}  // namespace prism::model
