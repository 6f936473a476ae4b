// What the journal says about volumes, and the row of a volume in the store. cow/FORMAT.md has
// both, byte by byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clone/composition.h"
#include "cow/key.h"
#include "cow/record.h"
#include "cow/tree.h"
#include "fs/base/error.h"

namespace prism::clone {

struct VolumeRow {
  VolumeId id = 0;
  std::string name;    // of a snapshot: its label alone, so that renaming the volume renames it too
  std::string parent;  // the name of what it was cloned from, as it was then
  VolumeId parent_id = 0;    // and its id, which may be gone by now; 0: made empty
  VolumeId snapshot_of = 0;  // not 0: a read-only snapshot of that volume, which exists
  bool importing = false;
  int64_t created_sec = 0;
  int64_t expires_sec = 0;         // when it is to go by itself; 0: never
  std::vector<std::string> holds;  // tags that keep it from being destroyed
  cow::NodeId root = 0;
  InodeId next_ino = kRootInode + 1;  // the root is made without asking for a number
  uint64_t inodes = 0;
  uint64_t bytes = 0;
  // The key of the hash that makes directory cookies; a clone inherits it, so cookies stay valid.
  std::pair<uint64_t, uint64_t> hash_key{0, 0};
  Composition composition;

  std::string Encode() const;  // without the id, which is the row's key
  static Result<VolumeRow> Decode(VolumeId id, std::string_view bytes);
};

// One transaction's changes of a volume's items, in the order in which they apply.
struct Mutation {
  enum class Kind : uint8_t { kPut = 0, kErase = 1, kEraseRange = 2 };
  Kind kind = Kind::kPut;
  cow::Key key;
  cow::Key last;      // kEraseRange only
  std::string value;  // kPut only
};

struct ChangeRecord {  // RecordType::kChange
  VolumeId volume = 0;
  InodeId next_ino = 0;
  int64_t inodes_delta = 0;
  int64_t bytes_delta = 0;
  std::vector<Mutation> mutations;

  std::string Encode() const;                                    // with the type byte, as all below
  static Result<ChangeRecord> Decode(std::string_view payload);  // without it
};

struct CreateRecord {  // RecordType::kCreate
  VolumeRow row;       // without root, items and usage
  std::string Encode() const;
  static Result<CreateRecord> Decode(std::string_view payload);
};

struct CloneRecord {  // RecordType::kClone
  VolumeId source = 0;
  int64_t created_sec = 0;
  std::vector<std::pair<VolumeId, std::string>> targets;
  std::string Encode() const;
  static Result<CloneRecord> Decode(std::string_view payload);
};

// The names of the catalog's own hidden clones begin so; nobody else's can.
inline bool IsHidden(std::string_view name) { return name.starts_with('#'); }
// Some are kept, as parts of composed volumes; others not beyond a restart.
inline constexpr std::string_view kPartName = "#part-";
inline bool IsPart(std::string_view name) { return name.starts_with(kPartName); }
inline bool IsPin(std::string_view name) { return IsHidden(name) && !IsPart(name); }

struct ComposeRecord {  // RecordType::kCompose: one cut of all sources
  VolumeRow row;        // of the composed volume, without root, items and usage
  VolumeId from = 0;    // its base; 0: it begins empty
  std::vector<std::pair<VolumeId, VolumeId>> parts;  // new ones: each with its source
  std::string Encode() const;
  static Result<ComposeRecord> Decode(std::string_view payload);
};

struct ComposedRecord {  // RecordType::kComposed: the rules have been followed; it is published
  VolumeId volume = 0;
  bool partial = false;
  std::string Encode() const;
  static Result<ComposedRecord> Decode(std::string_view payload);
};

struct CountedRecord {  // RecordType::kCounted: what the totals of a composed volume lacked
  VolumeId volume = 0;
  int64_t inodes = 0;
  int64_t bytes = 0;
  std::string Encode() const;
  static Result<CountedRecord> Decode(std::string_view payload);
};

struct SnapshotRecord {  // RecordType::kSnapshot
  struct Target {
    VolumeId source = 0;
    VolumeId id = 0;
    std::string label;
  };
  int64_t created_sec = 0;
  int64_t expires_sec = 0;
  std::vector<Target> targets;
  std::string Encode() const;
  static Result<SnapshotRecord> Decode(std::string_view payload);
};

struct RollbackRecord {  // RecordType::kRollback
  VolumeId volume = 0;
  VolumeId snapshot = 0;
  std::string Encode() const;
  static Result<RollbackRecord> Decode(std::string_view payload);
};

struct KeepRecord {  // RecordType::kKeep: what keeps a volume, and how long, as a whole
  VolumeId volume = 0;
  int64_t expires_sec = 0;
  std::vector<std::string> holds;
  std::string Encode() const;
  static Result<KeepRecord> Decode(std::string_view payload);
};

struct DestroyRecord {  // RecordType::kDestroy
  std::vector<VolumeId> volumes;
  std::string Encode() const;
  static Result<DestroyRecord> Decode(std::string_view payload);
};

struct RenameRecord {  // RecordType::kRename, and kPublish with an empty name
  VolumeId volume = 0;
  std::string name;
  std::string Encode(cow::RecordType type) const;
  static Result<RenameRecord> Decode(std::string_view payload);
};

}  // namespace prism::clone
