// Little-endian encoding into a string, and bounded decoding from untrusted bytes.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace prism {

static_assert(std::endian::native == std::endian::little, "formats are written little-endian");

// Appends fixed-width integers and length-prefixed strings.
class ByteWriter {
 public:
  explicit ByteWriter(std::string& out) : out_(out) {}

  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) void Put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void PutBytes(std::string_view bytes) { out_.append(bytes); }
  // u32 length, then the bytes.
  void PutString(std::string_view bytes) {
    Put(static_cast<uint32_t>(bytes.size()));
    PutBytes(bytes);
  }

 private:
  std::string& out_;
};

// Reads what ByteWriter wrote. Reading past the end sets failed() and yields zeros and empty
// strings, so a decoder can read every field and check once. Nothing is allocated from a length
// that the remaining bytes do not cover.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  template <typename T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) T Get() {
    T value{};
    if (bytes_.size() < sizeof value) {
      failed_ = true;
      bytes_ = {};
      return value;
    }
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view GetBytes(size_t length) {
    if (bytes_.size() < length) {
      failed_ = true;
      bytes_ = {};
      return {};
    }
    std::string_view result = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return result;
  }
  std::string_view GetString() { return GetBytes(Get<uint32_t>()); }

  size_t remaining() const { return bytes_.size(); }
  bool failed() const { return failed_; }
  // True when everything was read and nothing was missing.
  bool Finished() const { return !failed_ && bytes_.empty(); }

 private:
  std::string_view bytes_;
  bool failed_ = false;
};

}  // namespace prism
