// Names that are used as file names and in messages as they are.
#pragma once

#include <algorithm>
#include <string_view>

namespace prism::server {

inline constexpr size_t kPlainNameMax = 128;  // bytes

// As volumes' names: 1..128 bytes of [A-Za-z0-9._-], not beginning with '.' or '-'.
inline bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() <= kPlainNameMax && name[0] != '.' && name[0] != '-' &&
         std::all_of(name.begin(), name.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '.' || c == '_' || c == '-';
         });
}

}  // namespace prism::server
