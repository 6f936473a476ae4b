// SHA-256's compression (FIPS 180-4, 6.2.2) of several streams of bytes at once.
//
// One stream only waits for the latency of the processor's instructions. Debian's libraries take
// one stream (OpenSSL), or none as long as a block of 64 KiB (intel-ipsec-mb: 65,534 bytes).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace prism::cow {

inline constexpr size_t kSha256BlockBytes = 64;

struct Sha256Stream {
  std::array<uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const std::byte* data = nullptr;
  size_t blocks = 0;  // that follow at data
};

// How many streams are worth being given to AdvanceTogether; 0: this processor cannot do it.
size_t Sha256LanesMax();

// Takes the next `blocks` of each stream, which all have as many. REQUIRES: Sha256LanesMax() > 0,
// and no more streams than that.
void AdvanceTogether(std::span<Sha256Stream*> streams, size_t blocks);

}  // namespace prism::cow
