// XDR, RFC 4506: encoding into a buffer, and bounded decoding of what a peer has sent.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string_view>
#include <vector>

namespace prism::rpc {

constexpr size_t XdrPadded(size_t size_bytes) { return (size_bytes + 3) & ~size_t{3}; }

// Reading past the end, a length above its bound, a boolean that is neither and padding that is not
// zero set failed() and yield zeros and empty spans, so a decoder can read every field and check
// once. Nothing is allocated; opaque data points into what is read.
class XdrReader {
 public:
  explicit XdrReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  uint32_t U32() {
    if (bytes_.size() < 4) return Fail();
    uint32_t value;
    std::memcpy(&value, bytes_.data(), 4);
    bytes_ = bytes_.subspan(4);
    return __builtin_bswap32(value);
  }
  uint64_t U64() {
    uint64_t high = U32();
    return high << 32 | U32();
  }
  bool Bool() {
    uint32_t value = U32();
    if (value > 1) Fail();
    return value == 1;
  }
  std::span<const std::byte> FixedOpaque(size_t size_bytes) {
    if (bytes_.size() < XdrPadded(size_bytes) || size_bytes > bytes_.size()) {
      Fail();
      return {};
    }
    std::span<const std::byte> result = bytes_.first(size_bytes);
    for (size_t i = size_bytes; i < XdrPadded(size_bytes); ++i) {
      if (bytes_[i] == std::byte{0}) continue;
      Fail();  // nothing of bytes_ is left to look at
      return {};
    }
    bytes_ = bytes_.subspan(XdrPadded(size_bytes));
    return result;
  }
  std::span<const std::byte> Opaque(size_t max_bytes) {
    uint32_t size_bytes = U32();
    if (size_bytes > max_bytes) {
      Fail();
      return {};
    }
    return FixedOpaque(size_bytes);
  }
  std::string_view String(size_t max_bytes) {
    std::span<const std::byte> bytes = Opaque(max_bytes);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }

  // The value that was just read is none that may be there.
  void Reject() { Fail(); }

  std::span<const std::byte> remaining() const { return bytes_; }
  bool failed() const { return failed_; }
  // True when everything was read and nothing was wrong.
  bool Finished() const { return !failed_ && bytes_.empty(); }

 private:
  uint32_t Fail() {
    failed_ = true;
    bytes_ = {};
    return 0;
  }

  std::span<const std::byte> bytes_;
  bool failed_ = false;
};

// Encodes a structure of at most kMaxBytes, so that a writer gets it at once. The caller bounds
// what it writes.
template <size_t kMaxBytes>
class XdrBlock {
 public:
  void U32(uint32_t value) {
    value = __builtin_bswap32(value);
    std::memcpy(&bytes_[size_], &value, 4);
    size_ += 4;
  }
  void U64(uint64_t value) {
    value = __builtin_bswap64(value);
    std::memcpy(&bytes_[size_], &value, 8);
    size_ += 8;
  }
  void Bool(bool value) { U32(value ? 1 : 0); }
  void Opaque(std::span<const std::byte> bytes) {
    U32(static_cast<uint32_t>(bytes.size()));
    if (bytes.empty()) return;
    constexpr std::array<std::byte, 4> kZeros{};
    const size_t end = size_ + XdrPadded(bytes.size());
    std::memcpy(&bytes_[end - 4], kZeros.data(), 4);  // the padding, and what is overwritten now
    std::memcpy(&bytes_[size_], bytes.data(), bytes.size());
    size_ = end;
  }
  void String(std::string_view text) { Opaque(std::as_bytes(std::span(text))); }

  std::span<const std::byte> bytes() const { return std::span(bytes_).first(size_); }

 private:
  std::array<std::byte, kMaxBytes> bytes_;
  size_t size_ = 0;
};

// Appends. The caller bounds what it writes.
class XdrWriter {
 public:
  explicit XdrWriter(std::vector<std::byte>& out) : out_(out) {}

  void U32(uint32_t value) {
    const size_t at = out_.size();
    out_.resize(at + 4);
    SetU32(at, value);
  }
  void U64(uint64_t value) {
    U32(static_cast<uint32_t>(value >> 32));
    U32(static_cast<uint32_t>(value));
  }
  void Bool(bool value) { U32(value ? 1 : 0); }
  void FixedOpaque(std::span<const std::byte> bytes) {
    out_.insert(out_.end(), bytes.begin(), bytes.end());
    if (const size_t padding = XdrPadded(bytes.size()) - bytes.size(); padding > 0)
      out_.resize(out_.size() + padding);  // zero
  }
  template <size_t kMaxBytes>
  void Append(const XdrBlock<kMaxBytes>& block) {
    FixedOpaque(block.bytes());
  }
  // Room for so much more, allocated once instead of again and again.
  void Reserve(size_t size_bytes) { out_.reserve(out_.size() + size_bytes); }
  void Opaque(std::span<const std::byte> bytes) {
    U32(static_cast<uint32_t>(bytes.size()));
    FixedOpaque(bytes);
  }
  void String(std::string_view text) { Opaque(std::as_bytes(std::span(text))); }

  // For what is known only later: a place of size(), written again or cut off.
  size_t size() const { return out_.size(); }
  void SetU32(size_t at, uint32_t value) {
    value = __builtin_bswap32(value);
    std::memcpy(out_.data() + at, &value, 4);
  }
  void Truncate(size_t size_bytes) { out_.resize(size_bytes); }

 private:
  std::vector<std::byte>& out_;
};

static_assert(std::endian::native == std::endian::little);

}  // namespace prism::rpc
