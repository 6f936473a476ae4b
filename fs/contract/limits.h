// Every bound of the file-system contract. Front ends check sizes against these before allocating.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prism::fs {

inline constexpr size_t kNameMax = 255;          // bytes of one name, without NUL
inline constexpr size_t kSymlinkMax = 4095;      // bytes of a symlink's target
inline constexpr size_t kXattrNameMax = 255;     // bytes
inline constexpr size_t kXattrValueMax = 65536;  // bytes, as Linux
inline constexpr size_t kXattrListMax = 65536;   // bytes of all names with their NULs
inline constexpr uint64_t kFileSizeMax = (uint64_t{1} << 60) - 1;  // bytes
inline constexpr uint32_t kLinkMax = 1u << 31;
inline constexpr size_t kIoMax = 1u << 20;        // bytes of one READ or WRITE
inline constexpr size_t kInitialDataMax = 65536;  // bytes of data within one CREATE
inline constexpr size_t kGroupsMax = 64;          // supplementary groups of a caller
inline constexpr size_t kReaddirEntriesMax = 4096;

inline constexpr uint64_t kLockOffsetMax = (uint64_t{1} << 63) - 1;  // of a lock's last byte
inline constexpr size_t kLockOwnerMax = 1088;  // bytes: NLM's 1024, and which host it is
// Locks, each range and each waiting request counted: beyond, kNoLocks.
inline constexpr size_t kLocksPerInodeMax = 4096;
inline constexpr size_t kLocksPerClientMax = 16384;
inline constexpr size_t kLocksPerVolumeMax = 65536;

}  // namespace prism::fs
