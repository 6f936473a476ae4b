// Content that can neither be compressed nor found anywhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace prism::test {

// Without zeros; another one for each seed.
inline std::string Noise(size_t size, uint32_t seed) {
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(seed = seed * 1664525u + 1013904223u, seed >> 24 | 1);
  return text;
}

}  // namespace prism::test
