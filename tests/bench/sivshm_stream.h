// One process's bytes to another, as a stream of chunks: through shared memory, with rings and
// doorbells as of a lane, or through TCP. Both copy from and to private memory.
#pragma once

#include <cstdint>

#include "vrpc/segment.h"

namespace prism::bench {

inline constexpr uint32_t kChunkBytes = 1u << 20;

// Bytes per second, by two processes, into the payload slots of one lane of a segment.
double StreamThroughMemory(const vrpc::Geometry& geometry, uint32_t lane, uint32_t chunks);
// Over the loopback.
double StreamThroughTcp(uint32_t chunks);

}  // namespace prism::bench
