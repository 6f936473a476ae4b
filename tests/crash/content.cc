#include "tests/crash/content.h"

#include <algorithm>
#include <cstring>

namespace prism::crash {
namespace {

const std::string kZeros(kPieceBytes, '\0');

uint64_t Mix(uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

}  // namespace

std::string_view Content::PieceAt(uint64_t number) const {
  auto it = pieces_.find(number);
  return it == pieces_.end() ? std::string_view(kZeros) : std::string_view(*it->second);
}

void Content::Put(uint64_t number, std::string piece) {
  if (piece == kZeros)
    pieces_.erase(number);
  else
    pieces_[number] = std::make_shared<const std::string>(std::move(piece));
}

void Content::Write(uint64_t offset, std::string_view bytes) {
  if (bytes.empty()) return;
  size_ = std::max(size_, offset + bytes.size());
  while (!bytes.empty()) {
    uint64_t number = offset / kPieceBytes;
    uint64_t within = offset % kPieceBytes;
    size_t length = std::min<size_t>(bytes.size(), kPieceBytes - within);
    std::string piece(PieceAt(number));
    std::memcpy(piece.data() + within, bytes.data(), length);
    Put(number, std::move(piece));
    offset += length;
    bytes.remove_prefix(length);
  }
}

void Content::Truncate(uint64_t size) {
  if (size < size_) Zero(size, (size_ / kPieceBytes + 1) * kPieceBytes, false);
  size_ = size;
}

void Content::Zero(uint64_t from, uint64_t to, bool grow) {
  if (grow) size_ = std::max(size_, to);
  for (auto it = pieces_.lower_bound(from / kPieceBytes); it != pieces_.end();) {
    uint64_t begin = it->first * kPieceBytes;
    if (begin >= to) break;
    uint64_t low = std::max(from, begin) - begin;
    uint64_t high = std::min(to - begin, kPieceBytes);
    std::string piece(*it->second);
    if (low < high) std::memset(piece.data() + low, 0, high - low);
    if (piece == kZeros) {
      it = pieces_.erase(it);
    } else {
      it->second = std::make_shared<const std::string>(std::move(piece));
      ++it;
    }
  }
}

std::string Content::Read(uint64_t offset, uint64_t length) const {
  std::string out;
  length = offset >= size_ ? 0 : std::min(length, size_ - offset);
  while (out.size() < length) {
    uint64_t within = (offset + out.size()) % kPieceBytes;
    std::string_view piece = PieceAt((offset + out.size()) / kPieceBytes);
    out += piece.substr(within, length - out.size());
  }
  return out;
}

bool Content::PieceEquals(const Content& other, uint64_t number, uint64_t size) const {
  uint64_t begin = number * kPieceBytes;
  if (begin >= size) return true;
  size_t length = std::min(kPieceBytes, size - begin);
  return PieceAt(number).substr(0, length) == other.PieceAt(number).substr(0, length);
}

std::string Payload(uint64_t tag, uint64_t length) {
  std::string bytes(length, '\0');
  if (tag % 16 == 0) return bytes;
  bool compressible = tag % 3 == 0;
  uint64_t word = Mix(tag);
  for (uint64_t at = 0; at < length; at += sizeof word) {
    if (!compressible || at % 512 == 0) word = Mix(word ^ at);
    std::memcpy(bytes.data() + at, &word, std::min<uint64_t>(sizeof word, length - at));
  }
  return bytes;
}

}  // namespace prism::crash
