#include "fs/core/block_composer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <memory>

namespace prism::fs {
namespace {

using cow::kBlockSize;
using cow::kUnitSize;
using cow::kUnitsPerBlock;
using cow::Piece;

constexpr uint32_t kAllUnits = (1u << kUnitsPerBlock) - 1;

// Bits [first, end).
uint32_t UnitMask(uint32_t first, uint32_t end) { return ((1u << end) - 1) & ~((1u << first) - 1); }

uint32_t TouchedUnits(const DirtyBlock& dirty) {
  uint32_t mask = 0;
  for (const auto& range : dirty.ranges())
    mask |= UnitMask(range.begin / kUnitSize, (range.end + kUnitSize - 1) / kUnitSize);
  return mask;
}

size_t Runs(uint32_t mask) { return std::popcount(mask & ~(mask << 1)); }

bool IsZero(std::span<const std::byte> bytes) {
  return bytes.empty() || (bytes[0] == std::byte{0} &&
                           std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0);
}

// The units to write anew.
uint32_t ChangedUnits(const BlockInput& input) {
  if (!input.inline_bytes.empty() || input.old.empty()) return kAllUnits;
  const uint32_t touched = input.dirty == nullptr ? 0 : TouchedUnits(*input.dirty);
  const uint32_t end = std::min(input.end, kBlockSize);
  if (input.dirty != nullptr && input.dirty->Covers(0, end)) return kAllUnits;
  const size_t pieces = MergePieces(SelectUnits(input.old, touched, false), {}).size();
  return pieces + Runs(touched) > kPiecesMax ? kAllUnits : touched;
}

// The content of the block's touched units, and the chunks to be made of it.
class Image {
 public:
  Image(const BlockName& name, const BlockInput& input)
      : name_(name),
        input_(input),
        end_(std::min(input.end, kBlockSize)),
        changed_(ChangedUnits(input)) {}

  // Old bytes where the new do not cover them, then the new.
  Status Fill(cow::ChunkStore& store) {
    if (input_.dirty != nullptr && input_.dirty->Covers(0, end_)) {
      bytes_ = input_.dirty->BytesTo(end_);
      return {};
    }
    buffer_ = std::make_unique_for_overwrite<std::byte[]>(kBlockSize);
    bytes_ = {buffer_.get(), kBlockSize};
    const uint32_t units = (end_ + kUnitSize - 1) / kUnitSize;
    for (uint32_t unit = 0; unit < units;) {
      const uint32_t first = unit;
      while (unit < units && IsChanged(unit) && !IsCovered(unit)) ++unit;
      if (unit > first) FillOld(Filled(first, unit), first * kUnitSize);
      unit = std::max(unit, first + 1);
    }
    if (Status read = store.ReadAll(old_); !read) {
      spdlog::error("volume {}, inode {}, block {}: what it held cannot be read: {}", name_.volume,
                    name_.ino, name_.block, NameOf(read.error()));
      return read;
    }
    for (uint32_t unit = 0; unit < units && input_.dirty != nullptr; ++unit)
      if (IsChanged(unit)) input_.dirty->CopyTo(unit * kUnitSize, Filled(unit, unit + 1));
    return {};
  }

  // Each run of changed units becomes one chunk, whose units of zeros no piece covers.
  void PlanChunks(std::vector<std::span<const std::byte>>& contents) {
    for (uint32_t unit = 0; unit < kUnitsPerBlock;) {
      const uint32_t first = unit;
      while (unit < kUnitsPerBlock && IsChanged(unit)) ++unit;
      if (unit > first) PlanRun(first, unit, contents);
      unit = std::max(unit, first + 1);
    }
  }

  // The pins of what PlanChunks has added.
  ComposedBlock Take(std::span<cow::ChunkPin> pins) {
    ComposedBlock made;
    for (size_t i = 0; i < runs_.size(); ++i) {
      AddPieces(runs_[i], pins[i], made.pieces);
      made.pins.push_back(std::move(pins[i]));
    }
    made.pieces = MergePieces(SelectUnits(input_.old, changed_, false), made.pieces);
    return made;
  }
  size_t chunks() const { return runs_.size(); }

 private:
  bool IsChanged(uint32_t unit) const { return (changed_ & (1u << unit)) != 0; }

  void PlanRun(uint32_t first, uint32_t end_unit,
               std::vector<std::span<const std::byte>>& contents) {
    uint32_t used = 0;
    for (uint32_t unit = first; unit < end_unit && unit * kUnitSize < end_; ++unit)
      if (!IsZero(Bytes(unit, unit + 1))) used |= 1u << unit;
    if (used == 0) return;
    runs_.push_back(used);
    contents.push_back(Bytes(std::countr_zero(used), std::bit_width(used)));
  }

  static void AddPieces(uint32_t used, const cow::ChunkPin& pin, std::vector<Piece>& pieces) {
    const uint32_t first = std::countr_zero(used);
    for (uint32_t unit = first; unit < static_cast<uint32_t>(std::bit_width(used)); ++unit) {
      if ((used & (1u << unit)) == 0) continue;
      if (unit > first && (used & (1u << (unit - 1))) != 0) {
        ++pieces.back().units;
      } else {
        pieces.push_back(Piece{static_cast<uint8_t>(unit), 1, static_cast<uint8_t>(unit - first),
                               pin.id(), pin.stored_kib()});
      }
    }
  }

  std::span<const std::byte> Bytes(uint32_t first, uint32_t end_unit) const {
    const uint32_t begin = first * kUnitSize;
    return bytes_.subspan(begin, std::min(end_unit * kUnitSize, end_) - begin);
  }
  std::span<std::byte> Filled(uint32_t first, uint32_t end_unit) {
    const uint32_t begin = first * kUnitSize;
    return {buffer_.get() + begin, std::min(end_unit * kUnitSize, end_) - begin};
  }

  bool IsCovered(uint32_t unit) const {
    return input_.dirty != nullptr &&
           input_.dirty->Covers(unit * kUnitSize, std::min((unit + 1) * kUnitSize, end_));
  }

  void FillOld(std::span<std::byte> out, uint32_t begin) {
    if (input_.inline_bytes.empty()) return PlanPieces(input_.old, begin, out, old_);
    std::fill(out.begin(), out.end(), std::byte{0});
    if (begin >= input_.inline_bytes.size()) return;
    auto old = input_.inline_bytes.subspan(begin);
    std::memcpy(out.data(), old.data(), std::min(old.size(), out.size()));
  }

  const BlockName& name_;
  const BlockInput& input_;
  const uint32_t end_;
  const uint32_t changed_;      // units
  std::vector<uint32_t> runs_;  // of each new chunk, the units that it is used for
  std::vector<cow::ChunkRead> old_;
  std::span<const std::byte> bytes_;     // of the block: only filled units are ever read
  std::unique_ptr<std::byte[]> buffer_;  // they are here, unless the new bytes are all of it
};

}  // namespace

Result<std::vector<ComposedBlock>> ComposeBlocks(cow::ChunkStore& store,
                                                 std::span<const NamedInput> blocks) {
  std::vector<Image> images;
  images.reserve(blocks.size());
  std::vector<std::span<const std::byte>> contents;
  for (const auto& [name, input] : blocks) {
    Image& image = images.emplace_back(name, input);
    PRISM_TRY(image.Fill(store));
    image.PlanChunks(contents);
  }
  PRISM_ASSIGN(std::vector<cow::ChunkPin> pins, store.PutAll(contents));
  std::vector<ComposedBlock> made;
  std::span<cow::ChunkPin> left = pins;
  for (Image& image : images) {
    made.push_back(image.Take(left.first(image.chunks())));
    left = left.subspan(image.chunks());
  }
  return made;
}

Result<ComposedBlock> ComposeBlock(cow::ChunkStore& store, const BlockName& name,
                                   BlockInput input) {
  const NamedInput one{name, std::move(input)};
  PRISM_ASSIGN(std::vector<ComposedBlock> made, ComposeBlocks(store, {&one, 1}));
  return std::move(made.front());
}

void PlanPieces(std::span<const cow::Piece> pieces, uint32_t offset, std::span<std::byte> out,
                std::vector<cow::ChunkRead>& reads) {
  const uint32_t end = offset + static_cast<uint32_t>(out.size());
  uint32_t at = offset;
  auto zero_until = [&](uint32_t to) {
    if (at < to) std::memset(out.data() + (at - offset), 0, to - at);
  };
  for (const Piece& piece : pieces) {
    const uint32_t piece_begin = piece.unit * kUnitSize;
    const uint32_t from = std::max(piece_begin, at);
    const uint32_t to = std::min(piece_begin + piece.units * kUnitSize, end);
    if (from >= to) continue;
    zero_until(from);
    reads.push_back({piece.chunk, piece.chunk_unit * kUnitSize + (from - piece_begin),
                     out.subspan(from - offset, to - from)});
    at = to;
  }
  zero_until(end);
}

uint64_t UsedBytes(std::span<const cow::Piece> pieces) {
  uint64_t units = 0;
  for (const Piece& piece : pieces) units += piece.units;
  return units * kUnitSize;
}

std::vector<cow::Piece> SelectUnits(std::span<const cow::Piece> pieces, uint32_t mask, bool keep) {
  std::vector<Piece> selected;
  for (const Piece& piece : pieces) {
    bool open = false;
    for (uint8_t i = 0; i < piece.units; ++i) {
      const bool wanted = ((mask >> (piece.unit + i)) & 1) == (keep ? 1u : 0u);
      if (wanted && open) {
        ++selected.back().units;
      } else if (wanted) {
        selected.push_back(Piece{static_cast<uint8_t>(piece.unit + i), 1,
                                 static_cast<uint8_t>(piece.chunk_unit + i), piece.chunk,
                                 piece.stored_kib});
      }
      open = wanted;
    }
  }
  return selected;
}

std::vector<cow::Piece> MergePieces(std::vector<cow::Piece> a, const std::vector<cow::Piece>& b) {
  a.insert(a.end(), b.begin(), b.end());
  std::sort(a.begin(), a.end(), [](const Piece& x, const Piece& y) { return x.unit < y.unit; });
  std::vector<Piece> merged;
  for (const Piece& piece : a) {
    if (!merged.empty()) {
      Piece& last = merged.back();
      if (last.chunk == piece.chunk && last.unit + last.units == piece.unit &&
          last.chunk_unit + last.units == piece.chunk_unit) {
        last.units += piece.units;
        continue;
      }
    }
    merged.push_back(piece);
  }
  return merged;
}

}  // namespace prism::fs
