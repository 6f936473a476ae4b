// Sizes as people type them.
#pragma once

#include <cstdint>
#include <string_view>

#include "fs/base/failure.h"

namespace prism::tool {

// "4096", "20G": whole numbers of bytes, or of K, M, G, T, P, which are powers of 1024; more
// than nothing. kInvalid otherwise.
Outcome<uint64_t> ParseSize(std::string_view text);

// The same, or "none", which is 0.
Outcome<uint64_t> ParseBound(std::string_view text);

}  // namespace prism::tool
