// Comparing the bytes of files of which the items differ.
#include <algorithm>
#include <cstring>

#include "cow/extent.h"
#include "fs/core/volume_diff.h"

namespace prism::fs {
namespace {

// Differences within a unit are one.
constexpr uint64_t kUnit = cow::kUnitSize;

Status ReadBlock(FileSystem& files, InodeId ino, uint64_t offset, std::vector<std::byte>& out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  PRISM_TRY(files.Read(Caller{}, ino, offset, out));
  return {};
}

void Append(std::vector<DataRange>& ranges, uint64_t offset, uint64_t end) {
  if (end <= offset) return;
  if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset)
    ranges.back().length = end - ranges.back().offset;
  else
    ranges.push_back({offset, end - offset});
}

}  // namespace

// Only these blocks can differ, and what one file has beyond the other's end.
Status VolumeDiff::CompareBytes(FileChange& change, InodeId ino_a, InodeId ino_b,
                                std::vector<uint64_t> blocks) {
  if (!options_.content || change.type != FileType::kRegular) return {};
  const uint64_t common = std::min(change.old_size, change.new_size);
  const uint64_t longest = std::max(change.old_size, change.new_size);
  std::sort(blocks.begin(), blocks.end());
  blocks.erase(std::unique(blocks.begin(), blocks.end()), blocks.end());
  std::vector<std::byte> a(cow::kBlockSize), b(cow::kBlockSize);
  for (uint64_t block : blocks) {
    const uint64_t begin = block * cow::kBlockSize;
    if (begin >= common) break;
    PRISM_TRY(ReadBlock(a_.files, ino_a, begin, a));
    PRISM_TRY(ReadBlock(b_.files, ino_b, begin, b));
    for (uint64_t at = 0; at < cow::kBlockSize && begin + at < common; at += kUnit) {
      const uint64_t end = std::min(begin + at + kUnit, common);
      if (std::memcmp(&a[at], &b[at], end - begin - at) != 0)
        Append(change.ranges, begin + at, end);
    }
  }
  Append(change.ranges, common, longest);
  change.data = !change.ranges.empty();
  return {};
}

}  // namespace prism::fs
