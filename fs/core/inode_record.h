// The value of a kInode item.
//
// Version 1, little-endian: version u8, type u8, mode u16, flags u32, nlink u32, uid u32, gid u32,
// rdev_major u32, rdev_minor u32, size u64, used u64, atime, mtime, ctime, btime (each seconds i64,
// nanoseconds u32), change u64, xattr name bytes u32, verifier u64. The inode's number is its key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cow/volume_map.h"
#include "fs/base/error.h"
#include "fs/contract/attr.h"

namespace prism::fs {

enum InodeFlags : uint32_t {  // on disk: never renumber
  kHasXattrs = 1,             // kXattr items exist, of whatever kind
  kHasAccessAcl = 2,          // one of them is system.posix_acl_access
  kHasDefaultAcl = 4,         // one of them is system.posix_acl_default
  kHasCapability = 8,         // one of them is security.capability
  kHasVerifier = 16,          // made by an exclusive create with `verifier`
  kHasInlineData = 32,        // the whole body is a kInlineData item; no kExtent item exists
  kDying = 64,                // an orphan that is being freed in steps: gone for everybody
};

struct InodeRecord {
  // As callers see it: with what waits in memory (fs/core/file_state.h), once merged.
  Attr attr;
  uint32_t flags = 0;
  uint32_t xattr_name_bytes = 0;  // of all names, each with a NUL
  uint64_t verifier = 0;
  // What the map's items hold of a regular file's body; attr.size and attr.used_bytes may run
  // ahead of it. These two are what is encoded. Bytes at or beyond stored_size read as zeros.
  uint64_t stored_size = 0;
  uint64_t stored_used = 0;

  bool operator==(const InodeRecord&) const = default;
};

std::string EncodeInode(const InodeRecord& record);
// kCorrupt: not a record of a version this program knows.
Result<InodeRecord> DecodeInode(InodeId ino, std::string_view value);

// Of an encoded record, which is at least kLinksEnd bytes long.
inline constexpr size_t kLinksEnd = 12;
uint32_t LinksIn(std::string_view value);
bool IsDirectoryIn(std::string_view value);
void SetLinksIn(std::string& value, uint32_t nlink);

// kStale: there is no such inode (any number may be asked for), or it is being freed.
Result<InodeRecord> LoadInode(const cow::ReadView& view, InodeId ino);
// The same, also of a dying one.
Result<InodeRecord> LoadInodeEvenDying(const cow::ReadView& view, InodeId ino);
void StoreInode(cow::WriteTransaction& transaction, const InodeRecord& record);

}  // namespace prism::fs
