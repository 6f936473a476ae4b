// Keys of the items of a volume's tree.
//
// 16 bytes, ordered as two big-endian words: hi = type (4 bits) | inode (60 bits), lo = what the
// type says. The type comes first so that a leaf holds items of one kind: the first write to an
// inode's attributes after a clone then copies a leaf of inodes, which refers to no chunk, instead
// of one whose every extent needs a reference more (docs/DESIGN.md, "Type-major keys").
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

#include "fs/base/types.h"

namespace prism::cow {

enum class ItemType : uint8_t {  // on disk: never renumber; at most 15
  kInode = 1,                    // lo 0. Attributes (fs/core/inode_record.h)
  kDirEntry = 2,                 // inode = directory, lo = cookie
  kExtent = 3,                   // lo = block number: the pieces of one 64 KiB block (cow/extent.h)
  kXattr = 4,                    // lo = hash of the name | slot
  kInlineData = 5,               // lo 0. The whole body of a small file
  kSymlink = 6,                  // lo 0. The target
  // inode = child; lo = 0 of a directory, else a hash of the name's place. One per name of the
  // child, its value: (directory, cookie).
  kParent = 7,
  kOrphan = 8,     // inode = one without links that is still held or still being freed
  kRequest = 9,    // inode 0, lo = slot: a request that was done (fs/core/request_log.h)
  kVolatile = 10,  // inode = directory: empty in each clone (fs/core/composer.h)
};

inline constexpr int kTypeShift = 60;  // kInodeMax is below it

struct Key {
  uint64_t hi = 0;
  uint64_t lo = 0;
  auto operator<=>(const Key&) const = default;

  ItemType type() const { return static_cast<ItemType>(hi >> kTypeShift); }
  InodeId ino() const { return hi & kInodeMax; }
};

constexpr Key MakeKey(ItemType type, InodeId ino, uint64_t lo = 0) {
  return Key{(static_cast<uint64_t>(type) << kTypeShift) | ino, lo};
}
// The first key after all items of this type and inode.
constexpr Key EndKey(ItemType type, InodeId ino) { return MakeKey(type, ino + 1, 0); }

inline constexpr size_t kValueMax = 128 * 1024;  // bytes of one item's value

}  // namespace prism::cow
