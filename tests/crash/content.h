// The body of a file as a test expects it: sparse, cheap to copy, compared piece by piece.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

namespace prism::crash {

inline constexpr uint64_t kPieceBytes = 4096;

class Content {
 public:
  using Piece = std::shared_ptr<const std::string>;  // kPieceBytes long

  void Write(uint64_t offset, std::string_view bytes);
  void Truncate(uint64_t size);
  void Zero(uint64_t from, uint64_t to, bool grow);
  std::string Read(uint64_t offset, uint64_t length) const;  // up to the end
  // What piece `number` holds, zeros where nothing was written.
  std::string_view PieceAt(uint64_t number) const;

  uint64_t size() const { return size_; }
  // Those that are not all zeros.
  const std::map<uint64_t, Piece>& pieces() const { return pieces_; }
  // Equal in the first `size` bytes of the piece's part of the file.
  bool PieceEquals(const Content& other, uint64_t number, uint64_t size) const;

 private:
  void Put(uint64_t number, std::string piece);

  uint64_t size_ = 0;
  std::map<uint64_t, Piece> pieces_;
};

// The bytes that a write with this tag writes: repeatable, some of them zeros, some compressible,
// and equal tags give equal content, so that it is shared across files and volumes.
std::string Payload(uint64_t tag, uint64_t length);

}  // namespace prism::crash
