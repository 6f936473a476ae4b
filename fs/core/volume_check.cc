#include "fs/core/volume_check.h"

#include <xxhash.h>

#include <vector>

#include "cow/extent.h"
#include "fs/base/bytes.h"
#include "fs/core/block_composer.h"
#include "fs/core/directory.h"
#include "fs/core/file_limits.h"
#include "fs/core/xattr_items.h"

namespace prism::fs {
namespace {

uint64_t PlaceHash(InodeId dir, uint64_t cookie) {
  const uint64_t place[] = {dir, cookie};
  return XXH3_64bits(place, sizeof place);
}

}  // namespace

template <typename... Args>
void VolumeCheck::Say(InodeId ino, fmt::format_string<Args...> format, Args&&... args) {
  report_.Say("volume {}, inode {}: {}", name_, ino,
              fmt::format(format, std::forward<Args>(args)...));
}

void VolumeCheck::Add(cow::Key key, std::string_view value) {
  switch (key.type()) {
    case cow::ItemType::kInode:
      return AddRecord(key.ino(), value);
    case cow::ItemType::kDirEntry:
      return AddEntry(key, value);
    case cow::ItemType::kExtent:
      return AddExtent(key, value);
    case cow::ItemType::kXattr:
      return AddXattr(key.ino(), value);
    case cow::ItemType::kInlineData:
      seen_[key.ino()].has_inline = true;
      seen_[key.ino()].inline_bytes = value.size();
      return;
    case cow::ItemType::kSymlink:
      seen_[key.ino()].has_symlink = true;
      seen_[key.ino()].symlink_bytes = value.size();
      return;
    case cow::ItemType::kParent:
      return AddParent(key.ino(), value);
    case cow::ItemType::kOrphan:
      seen_[key.ino()].is_orphan = true;
      return;
    case cow::ItemType::kVolatile:  // a composed volume's, and not given to this
      break;
    case cow::ItemType::kRequest:
      if (value.size() != 32) report_.Say("volume {}: request {} does not decode", name_, key.lo);
      return;
  }
  report_.Say("volume {}: an item of type {} is unknown", name_, key.hi >> cow::kTypeShift);
}

void VolumeCheck::AddRecord(InodeId ino, std::string_view value) {
  Seen& seen = seen_[ino];
  const auto record = DecodeInode(ino, value);
  if (!record) return Say(ino, "its record does not decode");
  seen.has_record = true;
  seen.type = record->attr.type;
  seen.flags = record->flags;
  seen.nlink = record->attr.nlink;
  seen.xattr_name_bytes = record->xattr_name_bytes;
  seen.size = record->attr.size;
  seen.used = record->stored_used;
  ++inodes_;
  last_ino_ = std::max(last_ino_, ino);
}

void VolumeCheck::AddEntry(cow::Key key, std::string_view value) {
  const auto entry = DecodeEntry(value);
  if (!entry) return Say(key.ino(), "its entry at cookie {} does not decode", key.lo);
  if (key.lo / kCookieSlots != NameHash(keys_.Of(key.ino()), entry->name))
    Say(key.ino(), "its entry for inode {} is at the wrong cookie {}", entry->ino, key.lo);
  Seen& directory = seen_[key.ino()];
  ++directory.entries;
  if (entry->type == FileType::kDirectory) ++directory.subdirectories;
  Seen& child = seen_[entry->ino];
  if (!child.has_record)
    return Say(key.ino(), "its entry at cookie {} is of inode {}, which is not there", key.lo,
               entry->ino);
  if (child.type != entry->type)
    Say(key.ino(), "its entry at cookie {} has another type than inode {}", key.lo, entry->ino);
  ++child.names;
  child.named_by += PlaceHash(key.ino(), key.lo);
}

void VolumeCheck::AddExtent(cow::Key key, std::string_view value) {
  Seen& seen = seen_[key.ino()];
  const auto pieces = cow::DecodeExtent(value);
  if (!pieces || pieces->empty()) return Say(key.ino(), "block {} does not decode", key.lo);
  for (const cow::Piece& piece : *pieces)
    if (bad_chunks_.contains(piece.chunk))
      Say(key.ino(), "block {} is lost with chunk {}", key.lo, piece.chunk);
  seen.piece_bytes += UsedBytes(*pieces);
  seen.end_block = key.lo + 1;
}

void VolumeCheck::AddXattr(InodeId ino, std::string_view value) {
  Seen& seen = seen_[ino];
  ByteReader reader(value);
  const std::string_view name = reader.GetBytes(reader.Get<uint8_t>());
  if (reader.failed() || name.empty()) return Say(ino, "an extended attribute does not decode");
  seen.seen_xattr_name_bytes += static_cast<uint32_t>(name.size() + 1);
  seen.seen_flags |= kHasXattrs;
  if (name == kAccessAclName) seen.seen_flags |= kHasAccessAcl;
  if (name == kDefaultAclName) seen.seen_flags |= kHasDefaultAcl;
  if (name == kCapabilityName) seen.seen_flags |= kHasCapability;
}

void VolumeCheck::AddParent(InodeId ino, std::string_view value) {
  Seen& seen = seen_[ino];
  ByteReader reader(value);
  const InodeId dir = reader.Get<uint64_t>();
  const uint64_t cookie = reader.Get<uint64_t>();
  if (!reader.Finished()) return Say(ino, "one of its parents does not decode");
  ++seen.parents;
  seen.directory = dir;
  seen.says_named_by += PlaceHash(dir, cookie);
}

void VolumeCheck::Finish() {
  if (!seen_[kRootInode].has_record) report_.Say("volume {}: it has no root directory", name_);
  seen_[kRootInode].reaches_root = true;
  for (const auto& [ino, seen] : seen_) {
    Check(ino, seen);
    bytes_ += seen.piece_bytes + seen.inline_bytes;
  }
  for (const auto& [ino, seen] : seen_)
    if (seen.has_record && seen.type == FileType::kDirectory && seen.nlink > 0) CheckWayUp(ino);
  report_.inodes += inodes_;
}

void VolumeCheck::Check(InodeId ino, const Seen& seen) {
  if (!seen.has_record) {
    // The entry that names it has been reported.
    if (seen.entries + seen.parents + seen.piece_bytes + seen.inline_bytes + seen.symlink_bytes > 0)
      Say(ino, "it has items, and no record");
    if (seen.is_orphan) Say(ino, "it is said to be unlinked, and has no record");
    return;
  }
  CheckNames(ino, seen);
  if (seen.is_orphan != (seen.nlink == 0))
    Say(ino, "its link count is {}, and it is {}among the unlinked", seen.nlink,
        seen.is_orphan ? "" : "not ");
  if ((seen.type == FileType::kSymlink) != seen.has_symlink ||
      (seen.has_symlink && seen.symlink_bytes != seen.size))
    Say(ino, "its symlink target has {} bytes, and its size is {}", seen.symlink_bytes, seen.size);
  constexpr uint32_t kXattrFlags = kHasXattrs | kHasAccessAcl | kHasDefaultAcl | kHasCapability;
  if ((seen.flags & kXattrFlags) != seen.seen_flags ||
      seen.xattr_name_bytes != seen.seen_xattr_name_bytes)
    Say(ino, "its flags {:#x} and {} bytes of attribute names, and there are {:#x} and {}",
        seen.flags & kXattrFlags, seen.xattr_name_bytes, seen.seen_flags,
        seen.seen_xattr_name_bytes);
  CheckBody(ino, seen);
}

void VolumeCheck::CheckNames(InodeId ino, const Seen& seen) {
  if (seen.parents != seen.names || seen.says_named_by != seen.named_by)
    Say(ino, "it knows {} names, and entries give it {}, or others", seen.parents, seen.names);
  if (seen.type != FileType::kDirectory) {
    if (seen.nlink != seen.names)
      Say(ino, "its link count is {}, and it has {} names", seen.nlink, seen.names);
    if (seen.entries > 0) Say(ino, "it has entries, and is no directory");
    return;
  }
  const uint64_t links = seen.names + (ino == kRootInode) == 0 ? 0 : 2 + seen.subdirectories;
  if (seen.names > 1) Say(ino, "it is a directory of {} names", seen.names);
  if (seen.nlink != links) Say(ino, "its link count is {}, and should be {}", seen.nlink, links);
  if (seen.size != seen.entries * kEntrySize)
    Say(ino, "its size says {} entries, and it has {}", seen.size / kEntrySize, seen.entries);
}

void VolumeCheck::CheckBody(InodeId ino, const Seen& seen) {
  if (((seen.flags & kHasInlineData) != 0) != seen.has_inline)
    Say(ino, "its flags say that its body is {}inline", seen.has_inline ? "not " : "");
  if (seen.used != seen.piece_bytes + seen.inline_bytes)
    Say(ino, "it uses {} bytes, and says {}", seen.piece_bytes + seen.inline_bytes, seen.used);
  if (seen.has_inline && (seen.end_block > 0 || seen.inline_bytes == 0 ||
                          seen.inline_bytes > kInlineMax || seen.inline_bytes > seen.size))
    Say(ino, "its inline body has {} bytes, and its size is {}", seen.inline_bytes, seen.size);
  if (seen.end_block > 0 && (seen.end_block - 1) * cow::kBlockSize >= seen.size)
    Say(ino, "block {} lies beyond its size {}", seen.end_block - 1, seen.size);
}

// Directories that only name each other are in no tree.
void VolumeCheck::CheckWayUp(InodeId ino) {
  std::vector<Seen*> way;
  for (InodeId at = ino;;) {
    auto found = seen_.find(at);
    if (found == seen_.end() || way.size() > seen_.size())
      return Say(ino, "no way leads from this directory to the root");
    if (found->second.reaches_root) break;
    way.push_back(&found->second);
    at = found->second.directory;
  }
  for (Seen* seen : way) seen->reaches_root = true;
}

}  // namespace prism::fs
