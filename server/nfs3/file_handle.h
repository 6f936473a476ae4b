// NFS file handles: which volume, which inode, and a MAC, so that nobody can make one up.
//
// 36 bytes, big-endian:
//   0  u8  version (1); u8 0; u16 0
//   4  u64 volume id
//   12 u64 inode number
//   20 16 bytes: SipHash-2-4-128 of bytes 0..19 under the store's handle key
//
// Neither number is ever used again, by another volume or another file of the volume (a clone
// counts where none of its relatives does: clone/lineage.h), so the inode number is its own
// generation. The key is made with the store: handles survive restarts and upgrades, and another
// store's are refused.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>

#include "fs/base/failure.h"
#include "fs/base/types.h"
#include "fs/core/host.h"

namespace prism::nfs3 {

inline constexpr size_t kHandleSize = 36;
using HandleBytes = std::array<std::byte, kHandleSize>;

struct FileId {
  VolumeId volume = 0;
  InodeId ino = 0;
  bool operator==(const FileId&) const = default;
};

// THREADS: any.
class HandleCodec {
 public:
  // The store's key, made if it has none.
  static Outcome<std::unique_ptr<HandleCodec>> Open(fs::Host& host);

  HandleBytes Encode(FileId id) const;
  // nullopt: not one of this store's.
  std::optional<FileId> Decode(std::span<const std::byte> bytes) const;

 private:
  static constexpr size_t kKeySize = 16;
  static constexpr size_t kMacSize = 16;
  static constexpr size_t kMacOffset = kHandleSize - kMacSize;
  using Mac = std::array<std::byte, kMacSize>;

  explicit HandleCodec(std::span<const std::byte, kKeySize> key);
  Mac MacOf(std::span<const std::byte> bytes) const;

  std::array<unsigned char, kKeySize> key_;
};

}  // namespace prism::nfs3
