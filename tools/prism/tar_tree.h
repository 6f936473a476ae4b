// Where an archive's names lead within a volume: never out of it, never through a symlink.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"

namespace prism::tool {

// Not for several threads.
class TarTree {
 public:
  // A name in a directory that exists.
  struct Place {
    InodeId dir = 0;
    std::string name;
  };

  explicit TarTree(fs::FileSystem& target) : target_(target) {}

  // Where an entry belongs; nothing for the root itself. Directories on the way that the archive
  // has not brought are made (0755, root). Fails on "..", on names too long, and on something on
  // the way that is not a directory.
  Outcome<std::optional<Place>> Find(std::string_view path);

  // The inode of what exists under this path and is not a directory: a hard link's target.
  Outcome<InodeId> FindExisting(std::string_view path);

  // The directory at a place; nothing if there is none, or something else.
  Outcome<std::optional<InodeId>> FindDirectory(const Place& place);

  void Remember(const Place& place, InodeId ino);

  // Makes room for a later entry of the same name; returns what was removed. A directory with
  // contents stays: that is an error.
  Outcome<InodeId> Remove(const Place& place);

 private:
  static Outcome<std::vector<std::string_view>> Split(std::string_view path);
  Outcome<InodeId> Step(InodeId dir, std::string_view name, bool make);

  fs::FileSystem& target_;
  std::unordered_map<std::string, InodeId> directories_;  // by parent's inode and name
};

}  // namespace prism::tool
