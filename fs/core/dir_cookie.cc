#include "fs/core/dir_cookie.h"

#include "fs/base/bytes.h"

namespace prism::fs {
namespace {

inline uint64_t Rotate(uint64_t value, int bits) {
  return (value << bits) | (value >> (64 - bits));
}

struct SipState {
  uint64_t v0, v1, v2, v3;
  void Round() {
    v0 += v1;
    v1 = Rotate(v1, 13) ^ v0;
    v0 = Rotate(v0, 32);
    v2 += v3;
    v3 = Rotate(v3, 16) ^ v2;
    v0 += v3;
    v3 = Rotate(v3, 21) ^ v0;
    v2 += v1;
    v1 = Rotate(v1, 17) ^ v2;
    v2 = Rotate(v2, 32);
  }
};

// SipHash-1-3 (Aumasson and Bernstein, 2012): a keyed hash whose collisions cannot be searched for
// without the key, which XXH3 with a seed does not promise.
uint64_t SipHash13(const HashKey& key, std::string_view bytes) {
  SipState state{key.first ^ 0x736f6d6570736575, key.second ^ 0x646f72616e646f6d,
                 key.first ^ 0x6c7967656e657261, key.second ^ 0x7465646279746573};
  uint64_t last = static_cast<uint64_t>(bytes.size()) << 56;
  while (bytes.size() >= 8) {
    uint64_t word;
    std::memcpy(&word, bytes.data(), 8);
    bytes.remove_prefix(8);
    state.v3 ^= word;
    state.Round();
    state.v0 ^= word;
  }
  uint64_t tail = 0;
  std::memcpy(&tail, bytes.data(), bytes.size());
  last |= tail;
  state.v3 ^= last;
  state.Round();
  state.v0 ^= last;
  state.v2 ^= 0xff;
  for (int i = 0; i < 3; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

}  // namespace

uint64_t NameHash(const HashKey& key, std::string_view name) {
  const uint64_t hash = SipHash13(key, name) >> 5;
  return hash == 0 ? 1 : hash;
}

std::string EncodeEntry(InodeId ino, FileType type, std::string_view name) {
  std::string value;
  value.reserve(9 + name.size());
  ByteWriter writer(value);
  writer.Put(ino);
  writer.Put(type);
  writer.PutBytes(name);
  return value;
}

Result<EntryValue> DecodeEntry(std::string_view value) {
  ByteReader reader(value);
  EntryValue entry;
  entry.ino = reader.Get<uint64_t>();
  entry.type = reader.Get<FileType>();
  entry.name = reader.GetBytes(reader.remaining());
  if (reader.failed() || entry.name.empty() || entry.ino == 0 || entry.ino > kInodeMax)
    return Fail(Err::kCorrupt);
  return entry;
}

}  // namespace prism::fs
