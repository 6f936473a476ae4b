// Any number of descriptors, in order, behind a single one: the receiving end of a socket pair
// whose messages carry them and are only ever looked at (MSG_PEEK), never received.
//
// So an entry of a descriptor store is one descriptor: stored and removed as a whole, in an order
// that the store need not keep, however many there are in it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"

namespace prism::server {

inline constexpr size_t kPackFdsMax = 1024;
inline constexpr size_t kPackNoteMax = 4096;  // bytes

struct PackedFds {
  std::string note;  // bytes for whoever unpacks
  std::vector<UniqueFd> fds;
};

// The pack holds copies. REQUIRES: 1 to kPackFdsMax descriptors, at most kPackNoteMax bytes.
Outcome<UniqueFd> PackFds(std::string_view note, std::span<const int> fds);

// Copies of what is in the pack, which stays as it is. kCorrupt: it is no pack.
Outcome<PackedFds> UnpackFds(int pack);

}  // namespace prism::server
