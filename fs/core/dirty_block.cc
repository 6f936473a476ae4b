#include "fs/core/dirty_block.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "fs/base/check.h"

namespace prism::fs {

void DirtyBlock::Reserve(uint32_t begin, uint32_t end) {
  PRISM_CHECK(begin <= end && end <= cow::kBlockSize);
  if (capacity_ > 0 && base_ <= begin && end <= base_ + capacity_) return;
  constexpr uint32_t kSmallest = 256;
  constexpr uint32_t kGrowWhole = 16 * 1024;  // beyond this a block most often becomes full
  if (!ranges_.empty()) {
    begin = std::min(begin, ranges_.front().begin);
    end = std::max(end, ranges_.back().end);
  }
  uint32_t capacity = std::max(kSmallest, std::bit_ceil(end - begin));
  if (end - begin > kGrowWhole) capacity = cow::kBlockSize;
  const uint32_t base = std::min(begin, cow::kBlockSize - capacity);
  auto data = std::make_unique_for_overwrite<std::byte[]>(capacity);
  for (const Range& range : ranges_)
    std::memcpy(data.get() + (range.begin - base), At(range.begin), range.end - range.begin);
  data_ = std::move(data);
  base_ = base;
  capacity_ = capacity;
}

void DirtyBlock::MarkValid(uint32_t begin, uint32_t end) {
  auto first = std::lower_bound(ranges_.begin(), ranges_.end(), begin,
                                [](const Range& range, uint32_t at) { return range.end < at; });
  auto last = first;
  while (last != ranges_.end() && last->begin <= end) {
    begin = std::min(begin, last->begin);
    end = std::max(end, last->end);
    ++last;
  }
  if (first == last) {
    ranges_.insert(first, Range{begin, end});
    return;
  }
  *first = Range{begin, end};
  ranges_.erase(first + 1, last);
}

void DirtyBlock::Write(uint32_t offset, std::span<const std::byte> data) {
  if (data.empty()) return;
  const uint32_t end = offset + static_cast<uint32_t>(data.size());
  Reserve(offset, end);
  std::memcpy(At(offset), data.data(), data.size());
  MarkValid(offset, end);
}

void DirtyBlock::WriteZeros(uint32_t begin, uint32_t end) {
  if (begin >= end) return;
  Reserve(begin, end);
  std::memset(At(begin), 0, end - begin);
  MarkValid(begin, end);
}

void DirtyBlock::CopyTo(uint32_t offset, std::span<std::byte> out) const {
  const uint32_t end = offset + static_cast<uint32_t>(out.size());
  for (const Range& range : ranges_) {
    const uint32_t from = std::max(range.begin, offset);
    const uint32_t to = std::min(range.end, end);
    if (from < to) std::memcpy(out.data() + (from - offset), At(from), to - from);
  }
}

bool DirtyBlock::Covers(uint32_t begin, uint32_t end) const {
  if (begin >= end) return true;
  for (const Range& range : ranges_)
    if (range.begin <= begin && end <= range.end) return true;
  return false;
}

void DirtyBlock::Truncate(uint32_t end) {
  while (!ranges_.empty() && ranges_.back().begin >= end) ranges_.pop_back();
  if (!ranges_.empty()) ranges_.back().end = std::min(ranges_.back().end, end);
}

void DirtyBlock::PutUnder(const DirtyBlock& older) {
  if (older.empty()) return;
  Reserve(older.ranges_.front().begin, older.ranges_.back().end);
  const std::vector<Range> newer = ranges_;
  for (const Range& range : older.ranges_) {
    uint32_t at = range.begin;
    auto copy = [&](uint32_t to) {
      if (at < to) std::memcpy(At(at), older.At(at), to - at);
    };
    for (const Range& kept : newer) {
      if (kept.end <= at) continue;
      if (kept.begin >= range.end) break;
      copy(kept.begin);
      at = kept.end;
    }
    copy(range.end);
    MarkValid(range.begin, range.end);
  }
}

uint64_t DirtyBlock::ValidBytes() const {
  uint64_t bytes = 0;
  for (const Range& range : ranges_) bytes += range.end - range.begin;
  return bytes;
}

uint64_t DirtyBlock::MemoryBytes() const {
  constexpr uint64_t kOverhead = 128;  // the map's node and this
  return capacity_ + ranges_.capacity() * sizeof(Range) + kOverhead;
}

}  // namespace prism::fs
