// What unsaved bytes count against the volume's quota, so that what has been acknowledged is never
// refused when it is saved.
//
// A file's reservation is what saving it can add at most: each unit of a block that is unsaved and
// not charged yet. It is given back as the transaction that saves it charges the volume.
#include <algorithm>
#include <bit>

#include "fs/core/file_data.h"

namespace prism::fs {
namespace {

using cow::kBlockSize;
using cow::kUnitSize;

uint32_t UnitsOf(uint32_t begin, uint32_t end) {
  const uint32_t first = begin / kUnitSize;
  const uint32_t last = (end + kUnitSize - 1) / kUnitSize;
  return ((1u << last) - 1) & ~((1u << first) - 1);
}

uint32_t UnitsOf(const BlockMap& blocks, uint64_t number) {
  auto found = blocks.find(number);
  uint32_t units = 0;
  if (found != blocks.end())
    for (const DirtyBlock::Range& range : found->second->ranges())
      units |= UnitsOf(range.begin, range.end);
  return units;
}

}  // namespace

Status FileData::RequireRoom(const cow::ReadView& view, uint64_t inodes, uint64_t bytes) const {
  const cow::VolumeUsage usage = view.Usage();
  const cow::Quota& quota = usage.quota;
  if (quota.inodes != 0 && inodes > 0 &&
      (usage.inodes >= quota.inodes || inodes > quota.inodes - usage.inodes))
    return Fail(Err::kQuota);
  if (quota.bytes == 0 || bytes == 0) return {};
  const uint64_t taken = usage.charged_bytes + files_.reserved();
  if (taken >= quota.bytes || bytes > quota.bytes - taken) return Fail(Err::kQuota);
  return {};
}

// Of these units of a block, the bytes that are not charged yet, nor (unless over_unsaved) unsaved.
Result<uint64_t> FileData::NewUnits(const cow::ReadView& view, const FileState& state,
                                    uint64_t block, uint32_t units, bool over_unsaved) const {
  const ChunkId charged_from = view.Usage().charged_from;
  PRISM_ASSIGN(const std::vector<cow::Piece> pieces, LoadPieces(view, state.ino, block));
  for (const cow::Piece& piece : pieces)
    if (piece.chunk >= charged_from)
      units &= ~UnitsOf(piece.unit * kUnitSize, (piece.unit + piece.units) * kUnitSize);
  if (!over_unsaved) units &= ~(UnitsOf(state.active, block) | UnitsOf(state.flushing, block));
  return uint64_t{kUnitSize} * static_cast<uint64_t>(std::popcount(units));
}

Status FileData::Reserve(FileState& state, uint64_t offset, size_t length) {
  auto view = map_.Read();
  const cow::VolumeUsage usage = view->Usage();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, state.ino));
  const uint64_t end = offset + length;
  // A body that may be inline has all its bytes in the first unit, which counts as new as a whole.
  const bool was_small = record.attr.size <= kInlineMax;
  uint64_t bytes = 0;
  bool first_seen = !was_small || record.attr.size == 0;
  for (uint64_t at = offset; at < end;) {
    const uint64_t block = at / kBlockSize;
    const uint64_t to = std::min(end, (block + 1) * kBlockSize);
    uint32_t units = UnitsOf(static_cast<uint32_t>(at - block * kBlockSize),
                             static_cast<uint32_t>(to - block * kBlockSize));
    if (block == 0 && !first_seen) {
      units |= 1;
      first_seen = true;
    }
    PRISM_ASSIGN(const uint64_t added, NewUnits(*view, state, block, units, was_small));
    bytes += added;
    at = to;
  }
  if (!first_seen) bytes += kUnitSize;
  const uint64_t size = std::max(record.attr.size, end);
  const bool stays_inline =
      size <= kInlineMax && ((record.flags & kHasInlineData) != 0 || record.stored_used == 0);
  // A part's body is not this volume's alone: it becomes so as a whole.
  const bool is_new = usage.quota.exclusive && map_.is_grafted(state.ino);
  if (stays_inline) bytes = size - (is_new ? 0 : std::min(size, record.stored_used));
  if (was_small) bytes -= std::min(bytes, state.reserved.load());
  if (bytes == 0) return {};
  const uint64_t room = usage.quota.bytes - std::min(usage.quota.bytes, usage.charged_bytes);
  if (!files_.Reserve(state, bytes, room)) return Fail(Err::kQuota);
  return {};
}

// Some of what was unsaved is saved or cut away: only what is left still counts.
void FileData::FreeReserved(FileState& state) {
  if (state.reserved == 0) return;
  auto view = map_.Read();
  uint64_t bytes = 0;
  for (const auto& [number, block] : state.active) {
    const uint32_t units = UnitsOf(state.active, number);
    const auto added = NewUnits(*view, state, number, units, true);
    if (!added) return;  // what cannot be read is not counted again
    bytes += *added;
  }
  files_.KeepReserved(state, bytes);
}

}  // namespace prism::fs
