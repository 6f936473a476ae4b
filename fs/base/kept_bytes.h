// Bytes that stay as and where they are for as long as somebody holds them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

namespace prism {

struct KeptBytes {
  std::shared_ptr<const void> owner;
  std::span<const std::byte> bytes;
};

inline size_t SizeOf(const std::vector<KeptBytes>& parts) {
  size_t size_bytes = 0;
  for (const KeptBytes& part : parts) size_bytes += part.bytes.size();
  return size_bytes;
}

}  // namespace prism
