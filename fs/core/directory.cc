#include "fs/core/directory.h"

#include <spdlog/spdlog.h>

#include <string>

#include "fs/base/bytes.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::Key;
using cow::MakeKey;

struct Parent {
  InodeId dir = 0;
  uint64_t cookie = 0;
  bool operator==(const Parent&) const = default;
};

std::string EncodeParent(const Parent& parent) {
  std::string value;
  ByteWriter writer(value);
  writer.Put(parent.dir);
  writer.Put(parent.cookie);
  return value;
}

Result<Parent> DecodeParent(std::string_view value) {
  ByteReader reader(value);
  Parent parent;
  parent.dir = reader.Get<uint64_t>();
  parent.cookie = reader.Get<uint64_t>();
  if (!reader.Finished()) return Fail(Err::kCorrupt);
  return parent;
}

// Where the search for a parent's item begins.
uint64_t ParentSlot(FileType type, const Parent& parent) {
  if (type == FileType::kDirectory) return 0;
  uint64_t mixed = (parent.dir + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9;
  mixed ^= mixed >> 31;
  return mixed ^ parent.cookie;
}

}  // namespace

Result<EntryProbe> ProbeEntry(const cow::ReadView& view, const HashKeys& key, InodeId dir,
                              std::string_view name) {
  const uint64_t first = FirstCookie(key.Of(dir), name);
  EntryProbe probe;
  uint32_t taken = 0;
  bool corrupt = false;
  auto visit = [&](Key item, std::string_view value) {
    auto entry = DecodeEntry(value);
    if (!entry) {
      corrupt = true;
      return false;
    }
    taken |= 1u << (item.lo - first);
    if (entry->name != name) return true;
    probe.found = FoundEntry{item.lo, entry->ino, entry->type};
    return false;
  };
  PRISM_TRY(view.Scan(MakeKey(ItemType::kDirEntry, dir, first),
                      MakeKey(ItemType::kDirEntry, dir, first + kCookieSlots), visit));
  if (corrupt) {
    spdlog::error("directory {}: an entry near cookie {:#x} does not decode", dir, first);
    return Fail(Err::kCorrupt);
  }
  for (uint64_t slot = 0; !probe.found && slot < kCookieSlots; ++slot) {
    if ((taken & (1u << slot)) != 0) continue;
    probe.free_cookie = first + slot;
    break;
  }
  return probe;
}

Result<FoundEntry> FindEntry(const cow::ReadView& view, const HashKeys& key, InodeId dir,
                             std::string_view name) {
  PRISM_ASSIGN(const EntryProbe probe, ProbeEntry(view, key, dir, name));
  if (!probe.found) return Fail(Err::kNoEntry);
  return *probe.found;
}

void PutEntry(cow::WriteTransaction& transaction, InodeId dir, uint64_t cookie, InodeId ino,
              FileType type, std::string_view name) {
  transaction.Put(MakeKey(ItemType::kDirEntry, dir, cookie), EncodeEntry(ino, type, name));
}

void EraseEntry(cow::WriteTransaction& transaction, InodeId dir, uint64_t cookie) {
  transaction.Erase(MakeKey(ItemType::kDirEntry, dir, cookie));
}

Status AddParent(cow::WriteTransaction& transaction, InodeId child, FileType type, InodeId dir,
                 uint64_t cookie) {
  const Parent parent{dir, cookie};
  uint64_t slot = ParentSlot(type, parent);
  std::string value;
  while (type != FileType::kDirectory) {
    PRISM_ASSIGN(const bool taken, transaction.Get(MakeKey(ItemType::kParent, child, slot), value));
    if (!taken) break;
    ++slot;
  }
  transaction.Put(MakeKey(ItemType::kParent, child, slot), EncodeParent(parent));
  return {};
}

Status RemoveParent(cow::WriteTransaction& transaction, InodeId child, FileType type, InodeId dir,
                    uint64_t cookie) {
  const Parent parent{dir, cookie};
  const Key likely = MakeKey(ItemType::kParent, child, ParentSlot(type, parent));
  std::string value;
  PRISM_ASSIGN(const bool found, transaction.Get(likely, value));
  if (found) {
    PRISM_ASSIGN(const Parent there, DecodeParent(value));
    if (there == parent) {
      transaction.Erase(likely);
      return {};
    }
  }
  // Its slot was taken when it came: it is somewhere among the others.
  Key other{};
  PRISM_TRY(transaction.Scan(MakeKey(ItemType::kParent, child),
                             cow::EndKey(ItemType::kParent, child),
                             [&](Key item, std::string_view item_value) {
                               auto there = DecodeParent(item_value);
                               if (!there || *there != parent) return true;
                               other = item;
                               return false;
                             }));
  if (other == Key{}) {
    spdlog::error("inode {}: it does not know its name in directory {}", child, dir);
    return {};
  }
  transaction.Erase(other);
  return {};
}

Result<InodeId> ParentDirectoryIn(std::string_view value) {
  PRISM_ASSIGN(const Parent parent, DecodeParent(value));
  return parent.dir;
}

Result<InodeId> ParentOfDirectory(const cow::ReadView& view, InodeId dir) {
  if (dir == kRootInode) return kRootInode;
  thread_local std::string value;
  PRISM_ASSIGN(const bool found, view.Get(MakeKey(ItemType::kParent, dir), value));
  if (!found) return Fail(Err::kNoEntry);
  PRISM_ASSIGN(const Parent parent, DecodeParent(value));
  return parent.dir;
}

Result<bool> IsWithin(const cow::ReadView& view, InodeId dir, InodeId ancestor) {
  // A tree of stored directories cannot be deeper than it has inodes; damage must not loop forever.
  for (uint64_t depth = 0; depth < (uint64_t{1} << 24); ++depth) {
    if (dir == ancestor) return true;
    if (dir == kRootInode) return false;
    const Result<InodeId> parent = ParentOfDirectory(view, dir);
    if (!parent && parent.error() == Err::kNoEntry) return false;  // it has been removed
    PRISM_TRY(parent);
    dir = *parent;
  }
  return Fail(Err::kCorrupt);
}

}  // namespace prism::fs
