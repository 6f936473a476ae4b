// Directory cookies, and the value of a kDirEntry item.
//
// The cookie of an entry is a 59-bit keyed hash of its name, times 16, plus a slot 0..15 for names
// of equal hash. It depends on nothing else, so cookies are stable across changes, restarts and
// clones, and a directory is listed in the order of its keys. The key (VolumeMap::hash_key) is
// secret, so that nobody can construct many names of one hash. Cookies 0..15 are never used, nor
// any from 2^63 on: directory offsets of Linux are signed.
//
// Value: ino u64, type u8, then the name.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "cow/volume_map.h"
#include "fs/base/error.h"
#include "fs/contract/attr.h"

namespace prism::fs {

using HashKey = std::pair<uint64_t, uint64_t>;

// The keys of a volume's inodes.
class HashKeys {
 public:
  HashKeys(const HashKey& only) : only_(only) {}  // implicit: one for all
  explicit HashKeys(const cow::VolumeMap& map) : map_(&map) {}
  HashKey Of(InodeId ino) const { return map_ == nullptr ? only_ : map_->hash_key(ino); }

 private:
  const cow::VolumeMap* map_ = nullptr;
  HashKey only_{};
};

inline constexpr uint64_t kCookieSlots = 16;

// A keyed 59-bit hash of bytes: never 0.
uint64_t NameHash(const HashKey& key, std::string_view name);

// The first of the kCookieSlots cookies that an entry of this name may have.
inline uint64_t FirstCookie(const HashKey& key, std::string_view name) {
  return NameHash(key, name) * kCookieSlots;
}

struct EntryValue {
  InodeId ino = 0;
  FileType type = FileType::kRegular;
  std::string_view name;  // points into the decoded value
};

std::string EncodeEntry(InodeId ino, FileType type, std::string_view name);
Result<EntryValue> DecodeEntry(std::string_view value);  // kCorrupt

}  // namespace prism::fs
