// What the reference model is made of: plain values in standard maps. A clone is a copy.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fs/contract/file_system.h"
#include "fs/core/host.h"
#include "tests/model/acl.h"
#include "tests/model/locks.h"

namespace prism::model {

inline constexpr uint64_t kUnitBytes = 4096;
inline constexpr uint64_t kFreeBytes = uint64_t{1} << 40;  // what Statfs claims

struct DirSlot {
  uint64_t cookie = 0;
  InodeId ino = 0;
};

struct Node {
  InodeId ino = 0;
  fs::FileType type = fs::FileType::kRegular;
  uint32_t mode = 0;
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t rdev_major = 0;
  uint32_t rdev_minor = 0;
  fs::Timespec atime;
  fs::Timespec mtime;
  fs::Timespec ctime;
  fs::Timespec btime;
  uint64_t change = 1;

  std::map<std::string, std::string> xattrs;  // all but the two lists
  Acl access_acl;
  Acl default_acl;
  std::optional<uint64_t> verifier;  // of an exclusive create

  uint64_t size = 0;                      // regular files
  std::map<uint64_t, std::string> units;  // unit number -> kUnitBytes bytes; absent: a hole

  std::string target;  // symlinks

  std::map<std::string, DirSlot> entries;  // directories
  std::map<uint64_t, std::string> names_by_cookie;
  uint64_t last_cookie = 2;
  InodeId parent = 0;
  bool read_only = false;  // came with a part of a composed volume that must not change

  bool is_directory() const { return type == fs::FileType::kDirectory; }
};

class ModelFileSystem;

struct Volume {
  VolumeId id = 0;
  std::string name;
  std::string parent;
  VolumeId parent_id = 0;
  VolumeId snapshot_of = 0;  // not 0: a snapshot of that volume
  bool importing = false;
  bool destroyed = false;
  int64_t created_sec = 0;
  int64_t expires_sec = 0;
  std::set<std::string> holds;
  std::map<InodeId, Node> nodes;
  // Directories of `prism compose --volatile`; those that have gone since too.
  std::set<InodeId> volatiles;
  uint32_t prefixes = 1;  // see clone/composition.h
  uint32_t depth = 0;
  bool composed = false;
  std::vector<ModelFileSystem*> attached;  // every one holds what is orphaned while it lives
  Locks locks;

  bool sealed = false;
  bool is_snapshot() const { return snapshot_of != 0; }
  bool read_only() const { return is_snapshot() || sealed; }
};

// Everything, under one lock. Of request keys only Clone's are remembered.
struct World {
  std::mutex mutex;
  VolumeId last_id = 0;
  InodeId last_ino = kRootInode;  // so that one number is one file in all that descends from it
  std::map<std::string, std::vector<fs::VolumeInfo>, std::less<>> answers;
  std::map<std::string, std::shared_ptr<Volume>> volumes;  // snapshots too, as NAME@LABEL
};

fs::Timespec Now();
fs::Attr AttrOf(const Node& node);
// A volume with nothing but its root directory (mode 0755, owned by root).
void MakeRoot(Volume& volume);
// What a volume with volatile directories is when it has become: they are new, and empty. The world
// is locked.
void EmptyVolatiles(World& world, Volume& volume);

}  // namespace prism::model
