// The bytes of one 64 KiB block of a file that are not yet in the store.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cow/extent.h"

namespace prism::fs {

// A buffer for the part of the block that was written, and which ranges of it are valid. A few KiB
// anywhere in the block take a few KiB: random small writes would otherwise need 16 times the
// memory, and a page fault for each.
// THREADS: the owner locks.
class DirtyBlock {
 public:
  struct Range {
    uint32_t begin = 0;
    uint32_t end = 0;
    bool operator==(const Range&) const = default;
  };

  // Offsets are within the block. `data` is read exactly once.
  void Write(uint32_t offset, std::span<const std::byte> data);
  void WriteZeros(uint32_t begin, uint32_t end);
  // Copies the valid bytes of [offset, offset + out.size()) over `out`.
  void CopyTo(uint32_t offset, std::span<std::byte> out) const;
  bool Covers(uint32_t begin, uint32_t end) const;
  bool IsFull() const { return Covers(0, cow::kBlockSize); }
  // REQUIRES: Covers(0, end).
  std::span<const std::byte> BytesTo(uint32_t end) const { return {data_.get(), end}; }
  // Bytes at or beyond `end` are valid no more.
  void Truncate(uint32_t end);
  // Adds the valid bytes of `older` where this one has none.
  void PutUnder(const DirtyBlock& older);

  const std::vector<Range>& ranges() const { return ranges_; }  // ordered, apart from each other
  bool empty() const { return ranges_.empty(); }
  uint64_t ValidBytes() const;
  uint64_t MemoryBytes() const;

 private:
  // Makes room for [begin, end) beside what is valid.
  void Reserve(uint32_t begin, uint32_t end);
  void MarkValid(uint32_t begin, uint32_t end);
  std::byte* At(uint32_t offset) const { return data_.get() + (offset - base_); }

  std::unique_ptr<std::byte[]> data_;  // [base_, base_ + capacity_) of the block
  uint32_t base_ = 0;
  uint32_t capacity_ = 0;
  std::vector<Range> ranges_;
};

}  // namespace prism::fs
