// A checker of a volume's items.
#include <fmt/format.h>

#include <map>
#include <set>

#include "cow/extent.h"
#include "fs/base/bytes.h"
#include "fs/core/block_composer.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/directory.h"
#include "fs/core/file_limits.h"
#include "fs/core/inode_record.h"
#include "fs/core/xattr_items.h"
#include "tests/fs_core/fake_volume.h"

namespace prism::fs::testing {
namespace {

struct Seen {
  InodeRecord record;
  bool has_record = false;
  uint64_t names = 0;
  uint64_t subdirectories = 0;
  uint64_t entries = 0;
  uint64_t piece_bytes = 0;
  uint64_t end_block = 0;
  std::optional<std::string> inline_data;
  std::optional<std::string> symlink;
  bool orphan = false;
  uint32_t xattr_name_bytes = 0;
  uint32_t xattr_flags = 0;
  std::set<std::pair<InodeId, uint64_t>> parents;
  std::set<std::pair<InodeId, uint64_t>> named_by;
};

class Checker {
 public:
  explicit Checker(const FakeVolume& volume) : volume_(volume) {}

  std::string Run(std::optional<cow::VolumeUsage> usage) {
    for (const auto& [key, value] : volume_.items()) Collect(key, value);
    uint64_t bytes = 0, inodes = 0;
    for (const auto& [ino, seen] : seen_) {
      Check(ino, seen);
      bytes += seen.piece_bytes + (seen.inline_data ? seen.inline_data->size() : 0);
      inodes += seen.has_record;
    }
    if (usage && (usage->bytes != bytes || usage->inodes != inodes))
      Say("usage says {} bytes, {} inodes; there are {}, {}", usage->bytes, usage->inodes, bytes,
          inodes);
    return problems_;
  }

 private:
  template <typename... Args>
  void Say(fmt::format_string<Args...> format, Args&&... args) {
    problems_ += fmt::format(format, std::forward<Args>(args)...) + "\n";
  }

  void Collect(cow::Key key, const std::string& value) {
    Seen& seen = seen_[key.ino()];
    switch (key.type()) {
      case cow::ItemType::kInode: {
        auto record = DecodeInode(key.ino(), value);
        if (!record) return Say("inode {} does not decode", key.ino());
        seen.record = *record;
        seen.has_record = true;
        return;
      }
      case cow::ItemType::kDirEntry: {
        auto entry = DecodeEntry(value);
        if (!entry) return Say("entry in {} does not decode", key.ino());
        if (key.lo < 16) Say("cookie {} in {}", key.lo, key.ino());
        if (key.lo / kCookieSlots != NameHash(volume_.hash_key(), entry->name))
          Say("entry {} in {} is at the wrong cookie", entry->name, key.ino());
        ++seen.entries;
        if (entry->type == FileType::kDirectory) ++seen.subdirectories;
        Seen& child = seen_[entry->ino];
        ++child.names;
        child.named_by.emplace(key.ino(), key.lo);
        return;
      }
      case cow::ItemType::kExtent: {
        auto pieces = cow::DecodeExtent(value);
        if (!pieces || pieces->empty()) return Say("extent of {} does not decode", key.ino());
        if (pieces->size() > kPiecesMax * 2) Say("{} pieces in {}", pieces->size(), key.ino());
        seen.piece_bytes += UsedBytes(*pieces);
        seen.end_block = key.lo + 1;
        return;
      }
      case cow::ItemType::kXattr: {
        ByteReader reader(value);
        const auto name = reader.GetBytes(reader.Get<uint8_t>());
        seen.xattr_name_bytes += static_cast<uint32_t>(name.size() + 1);
        seen.xattr_flags |= kHasXattrs;
        if (name == kAccessAclName) seen.xattr_flags |= kHasAccessAcl;
        if (name == kDefaultAclName) seen.xattr_flags |= kHasDefaultAcl;
        if (name == kCapabilityName) seen.xattr_flags |= kHasCapability;
        return;
      }
      case cow::ItemType::kInlineData:
        seen.inline_data = value;
        return;
      case cow::ItemType::kSymlink:
        seen.symlink = value;
        return;
      case cow::ItemType::kParent: {
        ByteReader reader(value);
        const InodeId dir = reader.Get<uint64_t>();
        seen.parents.emplace(dir, reader.Get<uint64_t>());
        return;
      }
      case cow::ItemType::kOrphan:
        seen.orphan = true;
        return;
      case cow::ItemType::kRequest:
      case cow::ItemType::kVolatile:
        seen_.erase(key.ino());  // of no inode
        return;
    }
  }

  void Check(InodeId ino, const Seen& seen) {
    if (!seen.has_record) return Say("inode {} has items but no record", ino);
    const Attr& attr = seen.record.attr;
    const bool directory = attr.type == FileType::kDirectory;
    const bool root = ino == kRootInode;
    if (seen.parents != seen.named_by)
      Say("inode {}: {} parents, {} names", ino, seen.parents.size(), seen.named_by.size());
    if (directory) {
      const uint64_t links = seen.names + root == 0 ? 0 : 2 + seen.subdirectories;
      if (attr.nlink != links) Say("directory {}: nlink {}, not {}", ino, attr.nlink, links);
      if (attr.size != seen.entries * kEntrySize) Say("directory {}: size {}", ino, attr.size);
    } else if (attr.nlink != seen.names) {
      Say("inode {}: nlink {}, names {}", ino, attr.nlink, seen.names);
    }
    if (seen.orphan != (attr.nlink == 0)) Say("inode {}: orphan item {}", ino, seen.orphan);
    if ((attr.type == FileType::kSymlink) != seen.symlink.has_value() ||
        (seen.symlink && seen.symlink->size() != attr.size))
      Say("inode {}: symlink", ino);
    constexpr uint32_t kXattrFlags = kHasXattrs | kHasAccessAcl | kHasDefaultAcl | kHasCapability;
    if ((seen.record.flags & kXattrFlags) != seen.xattr_flags ||
        seen.record.xattr_name_bytes != seen.xattr_name_bytes)
      Say("inode {}: flags {:#x}, {} bytes of names; found {:#x}, {}", ino, seen.record.flags,
          seen.record.xattr_name_bytes, seen.xattr_flags, seen.xattr_name_bytes);
    CheckBody(ino, seen);
  }

  void CheckBody(InodeId ino, const Seen& seen) {
    const InodeRecord& record = seen.record;
    if (((record.flags & kHasInlineData) != 0) != seen.inline_data.has_value())
      Say("inode {}: inline flag", ino);
    const uint64_t inline_bytes = seen.inline_data ? seen.inline_data->size() : 0;
    if (record.attr.used_bytes != seen.piece_bytes + inline_bytes)
      Say("inode {}: used {}, found {}", ino, record.attr.used_bytes,
          seen.piece_bytes + inline_bytes);
    if (seen.inline_data && (seen.end_block > 0 || inline_bytes == 0 || inline_bytes > kInlineMax ||
                             inline_bytes > record.attr.size))
      Say("inode {}: inline data of {} bytes", ino, inline_bytes);
    if (seen.end_block > 0 && (seen.end_block - 1) * cow::kBlockSize >= record.attr.size)
      Say("inode {}: a block at {} beyond its size {}", ino, seen.end_block - 1, record.attr.size);
  }

  const FakeVolume& volume_;
  std::map<InodeId, Seen> seen_;
  std::string problems_;
};

}  // namespace

std::string Verify(const FakeVolume& volume, std::optional<cow::VolumeUsage> usage) {
  return Checker(volume).Run(usage);
}

}  // namespace prism::fs::testing
