#include "cow/sha256_lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <bit>

#include "fs/base/check.h"

// GCC 12 takes its own header's undefined operands for ours.
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

namespace prism::cow {
namespace {

#define PRISM_SHA __attribute__((target("sha,sse4.1")))
#define PRISM_WIDE __attribute__((target("avx512f,avx512bw")))

constexpr size_t kNarrow = 3;    // what fits into the registers
constexpr size_t kWide = 16;     // 32-bit words of a register
constexpr size_t kWideFrom = 9;  // fewer are as fast the other way: idle lanes cost as much

alignas(64) constexpr uint32_t kRoundConstants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

bool IsWide() {
  static const bool wide =
      __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
  return wide;
}

bool HasShaInstructions() {
  static const bool has = [] {
    uint32_t eax = 7, ebx = 0, ecx = 0, edx = 0;
    asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return (ebx >> 29 & 1) != 0 && __builtin_cpu_supports("sse4.1") != 0;
  }();
  return has;
}

// ---- Few streams: the instructions for SHA-256, each step for all streams before the next.

template <size_t N>
PRISM_SHA void AdvanceNarrow(Sha256Stream** streams, size_t blocks) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  // As the instructions want them: A B E F, and C D G H, the first one highest.
  __m128i abef[N], cdgh[N], words[N][4];
  for (size_t i = 0; i < N; ++i) {
    const auto* state = reinterpret_cast<const __m128i*>(streams[i]->state.data());
    const __m128i cdab = _mm_shuffle_epi32(_mm_loadu_si128(state), 0xb1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1b);
    abef[i] = _mm_alignr_epi8(cdab, efgh, 8);
    cdgh[i] = _mm_blend_epi16(efgh, cdab, 0xf0);
  }
  for (size_t block = 0; block < blocks; ++block) {
    __m128i abef_before[N], cdgh_before[N];
    std::copy_n(abef, N, abef_before);
    std::copy_n(cdgh, N, cdgh_before);
#pragma GCC unroll 16
    for (size_t step = 0; step < 16; ++step) {
      const __m128i constants =
          _mm_load_si128(reinterpret_cast<const __m128i*>(kRoundConstants) + step);
#pragma GCC unroll 4
      for (size_t i = 0; i < N; ++i) {
        __m128i& w = words[i][step % 4];  // this step's four words; before, those of four ago
        if (step < 4) {
          const std::byte* data = streams[i]->data + block * kSha256BlockBytes;
          w = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(data) + step),
                               big_endian);
        } else {
          const __m128i last = words[i][(step + 3) % 4];
          w = _mm_sha256msg1_epu32(w, words[i][(step + 1) % 4]);
          w = _mm_add_epi32(w, _mm_alignr_epi8(last, words[i][(step + 2) % 4], 4));
          w = _mm_sha256msg2_epu32(w, last);
        }
        const __m128i sum = _mm_add_epi32(w, constants);
        cdgh[i] = _mm_sha256rnds2_epu32(cdgh[i], abef[i], sum);
        abef[i] = _mm_sha256rnds2_epu32(abef[i], cdgh[i], _mm_shuffle_epi32(sum, 0x0e));
      }
    }
    for (size_t i = 0; i < N; ++i) {
      abef[i] = _mm_add_epi32(abef[i], abef_before[i]);
      cdgh[i] = _mm_add_epi32(cdgh[i], cdgh_before[i]);
    }
  }
  for (size_t i = 0; i < N; ++i) {
    auto* state = reinterpret_cast<__m128i*>(streams[i]->state.data());
    const __m128i feba = _mm_shuffle_epi32(abef[i], 0x1b);
    const __m128i dchg = _mm_shuffle_epi32(cdgh[i], 0xb1);
    _mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
  }
}

// ---- Many: a register has the same word of all streams.

template <int A, int B, int C>
PRISM_WIDE __m512i XorOfRotated(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, A), _mm512_ror_epi32(x, B),
                                   _mm512_ror_epi32(x, C), 0x96);
}

template <int A, int B, int Shift>
PRISM_WIDE __m512i XorOfShifted(__m512i x) {
  return _mm512_ternarylogic_epi32(_mm512_ror_epi32(x, A), _mm512_ror_epi32(x, B),
                                   _mm512_srli_epi32(x, Shift), 0x96);
}

// Word i of the block at `offset` of each stream to words[i].
PRISM_WIDE void LoadWide(const std::byte* const* data, size_t offset, __m512i* words) {
  const __m512i big_endian =
      _mm512_broadcast_i32x4(_mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203));
#pragma GCC unroll 4
  for (size_t quarter = 0; quarter < 4; ++quarter) {
    auto load = [&](size_t stream) PRISM_WIDE {
      return _mm_loadu_si128(
          reinterpret_cast<const __m128i*>(data[stream] + offset + quarter * sizeof(__m128i)));
    };
    __m512i rows[4];  // row j: four words each of the streams j, j + 4, j + 8, j + 12
#pragma GCC unroll 4
    for (size_t j = 0; j < 4; ++j) {
      __m512i row = _mm512_castsi128_si512(load(j));
      row = _mm512_inserti32x4(row, load(j + 4), 1);
      row = _mm512_inserti32x4(row, load(j + 8), 2);
      row = _mm512_inserti32x4(row, load(j + 12), 3);
      rows[j] = _mm512_shuffle_epi8(row, big_endian);
    }
    const __m512i low01 = _mm512_unpacklo_epi32(rows[0], rows[1]);
    const __m512i low23 = _mm512_unpacklo_epi32(rows[2], rows[3]);
    const __m512i high01 = _mm512_unpackhi_epi32(rows[0], rows[1]);
    const __m512i high23 = _mm512_unpackhi_epi32(rows[2], rows[3]);
    words[quarter * 4] = _mm512_unpacklo_epi64(low01, low23);
    words[quarter * 4 + 1] = _mm512_unpackhi_epi64(low01, low23);
    words[quarter * 4 + 2] = _mm512_unpacklo_epi64(high01, high23);
    words[quarter * 4 + 3] = _mm512_unpackhi_epi64(high01, high23);
  }
}

PRISM_WIDE void AdvanceWide(std::span<Sha256Stream*> streams, size_t blocks) {
  std::array<const std::byte*, kWide> data;
  alignas(64) uint32_t states[8][kWide];
  for (size_t i = 0; i < kWide; ++i) {
    const Sha256Stream& stream = *streams[std::min(i, streams.size() - 1)];  // idle: any one's
    data[i] = stream.data;
    for (size_t word = 0; word < 8; ++word) states[word][i] = stream.state[word];
  }
  __m512i state[8];
  for (size_t word = 0; word < 8; ++word) state[word] = _mm512_load_si512(states[word]);
  for (size_t block = 0; block < blocks; ++block) {
    __m512i w[16], v[8];
    LoadWide(data.data(), block * kSha256BlockBytes, w);
    std::copy_n(state, 8, v);
#pragma GCC unroll 64
    for (size_t round = 0; round < 64; ++round) {
      // a to h: the names stay, the values move on by one place each round.
      auto at = [&](size_t name) -> __m512i& { return v[(name + 64 - round) % 8]; };
      __m512i& word = w[round % 16];
      if (round >= 16)
        word = _mm512_add_epi32(
            _mm512_add_epi32(word, XorOfShifted<7, 18, 3>(w[(round + 1) % 16])),
            _mm512_add_epi32(w[(round + 9) % 16], XorOfShifted<17, 19, 10>(w[(round + 14) % 16])));
      const __m512i choice = _mm512_ternarylogic_epi32(at(4), at(5), at(6), 0xca);
      const __m512i majority = _mm512_ternarylogic_epi32(at(0), at(1), at(2), 0xe8);
      const __m512i input =
          _mm512_add_epi32(word, _mm512_set1_epi32(std::bit_cast<int>(kRoundConstants[round])));
      const __m512i sum = _mm512_add_epi32(
          _mm512_add_epi32(at(7), input), _mm512_add_epi32(XorOfRotated<6, 11, 25>(at(4)), choice));
      at(3) = _mm512_add_epi32(at(3), sum);
      at(7) = _mm512_add_epi32(sum, _mm512_add_epi32(XorOfRotated<2, 13, 22>(at(0)), majority));
    }
    for (size_t word = 0; word < 8; ++word) state[word] = _mm512_add_epi32(state[word], v[word]);
  }
  for (size_t word = 0; word < 8; ++word) _mm512_store_si512(states[word], state[word]);
  for (size_t i = 0; i < streams.size(); ++i)
    for (size_t word = 0; word < 8; ++word) streams[i]->state[word] = states[word][i];
}

}  // namespace

size_t Sha256LanesMax() {
  if (!HasShaInstructions()) return 0;
  return IsWide() ? kWide : kNarrow;
}

void AdvanceTogether(std::span<Sha256Stream*> streams, size_t blocks) {
  PRISM_CHECK(streams.size() <= Sha256LanesMax());
  if (streams.size() >= kWideFrom) {
    AdvanceWide(streams, blocks);
  } else {
    size_t done = 0;
    for (; done + 3 <= streams.size(); done += 3) AdvanceNarrow<3>(&streams[done], blocks);
    if (streams.size() - done == 2) AdvanceNarrow<2>(&streams[done], blocks);
    if (streams.size() - done == 1) AdvanceNarrow<1>(&streams[done], blocks);
  }
  for (Sha256Stream* stream : streams) {
    stream->data += blocks * kSha256BlockBytes;
    stream->blocks -= blocks;
  }
}

}  // namespace prism::cow

#else

namespace prism::cow {

size_t Sha256LanesMax() { return 0; }
void AdvanceTogether(std::span<Sha256Stream*>, size_t) {}

}  // namespace prism::cow

#endif
