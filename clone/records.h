// What the journal says about volumes, and the row of a volume in the store. cow/FORMAT.md has
// both, byte by byte.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clone/composition.h"
#include "clone/lineage.h"
#include "cow/key.h"
#include "cow/record.h"
#include "cow/tree.h"
#include "cow/volume_map.h"
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
  bool sealed = false;   // it cannot be changed any more; its clones can
  bool flushed = false;  // the clients of what it was cloned from had written all before the cut
  // The key of the hash that makes directory cookies; a clone inherits it, so cookies stay valid.
  std::pair<uint64_t, uint64_t> hash_key{0, 0};
  Lineage past;          // what the content came through before this line
  uint64_t line = 0;     // the present one; 0 of a snapshot, which does not go on
  Lsn changed = 0;       // the last change on this line
  cow::TreeUsage usage;  // of the tree at `root`
  ChunkId own_from = 0;  // chunks from this one on came after the volume was made
  // usage.node_bytes when it was made; of a volume that was rebased, less the stored bytes of what
  // it brought along, modulo 2^64: older than own_from, and nevertheless its own.
  uint64_t birth_node_bytes = 0;
  cow::Quota quota;  // a clone inherits it, as a copy of a disk has that disk's size
  Composition composition;

  // See cow::VolumeUsage.
  cow::VolumeUsage Usage() const;

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
  cow::Quota quota;      // of all targets
  bool flushed = false;  // as in the row
  std::string Encode() const;
  static Result<CloneRecord> Decode(std::string_view payload);
};

// Volumes that nobody finds by name; nobody else's names begin so. Pins are looked at, parts are
// what composed volumes are made of: neither changes for anybody. The unborn are being made, and
// get their names at the end.
inline constexpr char kPinPrefix = '#';
inline constexpr std::string_view kPartName = "#part-";
inline constexpr char kUnbornPrefix = '+';
inline bool IsHidden(std::string_view name) {
  return name.starts_with(kPinPrefix) || name.starts_with(kUnbornPrefix);
}
inline bool IsPart(std::string_view name) { return name.starts_with(kPartName); }
inline bool IsUnchanging(std::string_view name) { return name.starts_with(kPinPrefix); }
// A restart removes it.
inline bool IsTemporary(std::string_view name) { return IsHidden(name) && !IsPart(name); }

struct RevealRecord {  // RecordType::kReveal: the unborn get their names, all at once
  std::vector<std::pair<VolumeId, std::string>> volumes;
  std::string Encode() const;
  static Result<RevealRecord> Decode(std::string_view payload);
};

struct SealRecord {  // RecordType::kSeal
  VolumeId volume = 0;
  std::string Encode() const;
  static Result<SealRecord> Decode(std::string_view payload);
};

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

struct CountedRecord {  // RecordType::kCounted: by how much a composed volume's totals were wrong
  VolumeId volume = 0;
  int64_t inodes = 0;
  int64_t bytes = 0;
  std::string Encode() const;
  static Result<CountedRecord> Decode(std::string_view payload);
};

struct UncountedRecord {  // RecordType::kUncounted: totals say more than there is, until kCounted
  VolumeId volume = 0;
  std::string Encode() const;
  static Result<UncountedRecord> Decode(std::string_view payload);
};

// Up to what the volume holds now.
Lineage LineageUntilNow(const VolumeRow& row);

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

// The volume becomes what `source`, a hidden clone, is, which goes; a snapshot keeps what it was.
struct ReplaceRecord {  // RecordType::kReplace
  VolumeId volume = 0;
  VolumeId source = 0;
  VolumeId snapshot = 0;  // its id
  int64_t created_sec = 0;
  std::string label;
  // Stored bytes that an exclusive quota counts: of a source that was made of the volume, by how
  // much more it has of the volume's own chunks; of another, what is the volume's own in it.
  int64_t own_bytes = 0;
  std::string Encode() const;
  static Result<ReplaceRecord> Decode(std::string_view payload);
};

struct KeepRecord {  // RecordType::kKeep: what keeps a volume, and how long, as a whole
  VolumeId volume = 0;
  int64_t expires_sec = 0;
  std::vector<std::string> holds;
  std::string Encode() const;
  static Result<KeepRecord> Decode(std::string_view payload);
};

struct QuotaRecord {  // RecordType::kQuota
  VolumeId volume = 0;
  cow::Quota quota;
  std::string Encode() const;
  static Result<QuotaRecord> Decode(std::string_view payload);
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
