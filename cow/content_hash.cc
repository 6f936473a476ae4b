#include "cow/content_hash.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>

#include "cow/sha256_lanes.h"
#include "fs/base/check.h"

namespace prism::cow {
namespace {

// What is behind the last whole block, with SHA-256's padding: one block or two.
struct Tail {
  explicit Tail(std::span<const std::byte> data) {
    const auto rest = data.last(data.size() % kSha256BlockBytes);
    std::copy(rest.begin(), rest.end(), bytes.begin());
    bytes[rest.size()] = std::byte{0x80};
    blocks = rest.size() + 1 + sizeof(uint64_t) <= kSha256BlockBytes ? 1 : 2;
    const uint64_t bits = __builtin_bswap64(uint64_t{data.size()} * 8);
    std::memcpy(&bytes[blocks * kSha256BlockBytes - sizeof bits], &bits, sizeof bits);
  }
  std::array<std::byte, 2 * kSha256BlockBytes> bytes{};
  size_t blocks = 0;
};

void AdvanceAll(std::vector<Sha256Stream>& streams) {
  std::vector<Sha256Stream*> left;
  for (Sha256Stream& stream : streams) left.push_back(&stream);
  for (;;) {
    std::erase_if(left, [](const Sha256Stream* stream) { return stream->blocks == 0; });
    if (left.empty()) return;
    const auto together = std::span(left).first(std::min(left.size(), Sha256LanesMax()));
    const auto shortest = std::min_element(
        together.begin(), together.end(),
        [](const Sha256Stream* a, const Sha256Stream* b) { return a->blocks < b->blocks; });
    AdvanceTogether(together, (*shortest)->blocks);
  }
}

}  // namespace

ContentHash HashContent(std::span<const std::byte> data) {
  ContentHash hash;
  unsigned length = 0;
  const int ok = EVP_Digest(data.data(), data.size(), hash.data(), &length, EVP_sha256(), nullptr);
  PRISM_CHECK(ok == 1 && length == hash.size());
  return hash;
}

std::vector<ContentHash> HashContents(std::span<const std::span<const std::byte>> contents) {
  std::vector<ContentHash> hashes(contents.size());
  if (contents.size() < 2 || Sha256LanesMax() == 0) {
    std::transform(contents.begin(), contents.end(), hashes.begin(), HashContent);
    return hashes;
  }
  std::vector<Sha256Stream> streams(contents.size());
  for (size_t i = 0; i < contents.size(); ++i) {
    streams[i].data = contents[i].data();
    streams[i].blocks = contents[i].size() / kSha256BlockBytes;
  }
  AdvanceAll(streams);
  const std::vector<Tail> tails(contents.begin(), contents.end());
  for (size_t i = 0; i < contents.size(); ++i) {
    streams[i].data = tails[i].bytes.data();
    streams[i].blocks = tails[i].blocks;
  }
  AdvanceAll(streams);
  for (size_t i = 0; i < contents.size(); ++i) {
    for (uint32_t& word : streams[i].state) word = __builtin_bswap32(word);
    std::memcpy(hashes[i].data(), streams[i].state.data(), hashes[i].size());
  }
  return hashes;
}

}  // namespace prism::cow
