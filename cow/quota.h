// What a volume may grow to. Growth beyond it is refused; what is there already stays.
#pragma once

#include <cstdint>
#include <optional>

namespace prism::cow {

struct Quota {
  uint64_t bytes = 0;  // of VolumeUsage::charged_bytes; 0: no bound
  uint64_t inodes = 0;
  bool exclusive = false;  // bytes: only what came since the volume was made
  bool operator==(const Quota&) const = default;
};

// What of a quota is to be set; the rest stays.
struct QuotaChange {
  std::optional<uint64_t> bytes;
  std::optional<uint64_t> inodes;
  std::optional<bool> exclusive;

  Quota Of(const Quota& before) const {
    return {bytes.value_or(before.bytes), inodes.value_or(before.inodes),
            exclusive.value_or(before.exclusive)};
  }
};

}  // namespace prism::cow
