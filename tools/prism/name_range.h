// What people type instead of many names and many seconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"

namespace prism::tool {

inline constexpr size_t kExpandedNamesMax = 10000;

// "web{1..3}" is web1 web2 web3, "{08..10}" keeps the width, several ranges multiply, as in bash.
// kInvalid: something else in braces, or more than kExpandedNamesMax names in all.
Outcome<std::vector<std::string>> ExpandNames(const std::vector<std::string>& patterns);

// "90", "90s", "15m", "12h", "7d", "2w": more than nothing. kInvalid otherwise.
Outcome<int64_t> ParseDuration(std::string_view text);

}  // namespace prism::tool
