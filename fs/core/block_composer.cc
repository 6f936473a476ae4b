#include "fs/core/block_composer.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

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

// The content of the block's touched units, and chunks made of it.
class Image {
 public:
  Image(cow::ChunkStore& store, const BlockName& name, const BlockInput& input)
      : store_(store), name_(name), input_(input), end_(std::min(input.end, kBlockSize)) {}

  // Fills the units of mask: old bytes where the new do not cover them, then the new.
  Status Fill(uint32_t mask) {
    const uint32_t units = (end_ + kUnitSize - 1) / kUnitSize;
    for (uint32_t unit = 0; unit < units;) {
      const uint32_t first = unit;
      while (unit < units && (mask & (1u << unit)) != 0 && !IsCovered(unit)) ++unit;
      if (unit > first) FillOld(Bytes(first, unit), first * kUnitSize);
      unit = std::max(unit, first + 1);
    }
    if (Status read = store_.ReadAll(old_); !read) {
      spdlog::error("volume {}, inode {}, block {}: what it held cannot be read: {}", name_.volume,
                    name_.ino, name_.block, NameOf(read.error()));
      return read;
    }
    for (uint32_t unit = 0; unit < units && input_.dirty != nullptr; ++unit)
      if ((mask & (1u << unit)) != 0) input_.dirty->CopyTo(unit * kUnitSize, Bytes(unit, unit + 1));
    return {};
  }

  // Stores one run of units as one chunk, whose units of zeros no piece covers.
  Status Store(uint32_t first, uint32_t end_unit, ComposedBlock& out) {
    uint32_t used = 0;
    for (uint32_t unit = first; unit < end_unit && unit * kUnitSize < end_; ++unit)
      if (!IsZero(Bytes(unit, unit + 1))) used |= 1u << unit;
    if (used == 0) return {};
    const uint32_t chunk_first = std::countr_zero(used);
    const uint32_t chunk_end = std::bit_width(used);
    const uint32_t begin_byte = chunk_first * kUnitSize;
    const uint32_t end_byte = std::min(chunk_end * kUnitSize, end_);
    PRISM_ASSIGN(cow::ChunkPin pin,
                 store_.Put(std::span(bytes_).subspan(begin_byte, end_byte - begin_byte)));
    for (uint32_t unit = chunk_first; unit < chunk_end; ++unit) {
      if ((used & (1u << unit)) == 0) continue;
      const bool grows = unit > chunk_first && (used & (1u << (unit - 1))) != 0;
      if (grows) {
        ++out.pieces.back().units;
      } else {
        out.pieces.push_back(Piece{static_cast<uint8_t>(unit), 1,
                                   static_cast<uint8_t>(unit - chunk_first), pin.id()});
      }
    }
    out.pins.push_back(std::move(pin));
    return {};
  }

 private:
  std::span<std::byte> Bytes(uint32_t first, uint32_t end_unit) {
    const uint32_t begin = first * kUnitSize;
    return std::span(bytes_).subspan(begin, std::min(end_unit * kUnitSize, end_) - begin);
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

  cow::ChunkStore& store_;
  const BlockName& name_;
  const BlockInput& input_;
  const uint32_t end_;
  std::vector<cow::ChunkRead> old_;
  std::array<std::byte, kBlockSize> bytes_;  // only filled units are ever read
};

// The units to write anew.
uint32_t ChangedUnits(const BlockInput& input) {
  if (!input.inline_bytes.empty() || input.old.empty()) return kAllUnits;
  const uint32_t touched = input.dirty == nullptr ? 0 : TouchedUnits(*input.dirty);
  const uint32_t end = std::min(input.end, kBlockSize);
  if (input.dirty != nullptr && input.dirty->Covers(0, end)) return kAllUnits;
  const size_t pieces = MergePieces(SelectUnits(input.old, touched, false), {}).size();
  return pieces + Runs(touched) > kPiecesMax ? kAllUnits : touched;
}

}  // namespace

Result<ComposedBlock> ComposeBlock(cow::ChunkStore& store, const BlockName& name,
                                   BlockInput input) {
  const uint32_t changed = ChangedUnits(input);
  Image image(store, name, input);
  PRISM_TRY(image.Fill(changed));
  ComposedBlock made;
  for (uint32_t unit = 0; unit < kUnitsPerBlock;) {
    uint32_t end = unit;
    while (end < kUnitsPerBlock && (changed & (1u << end)) != 0) ++end;
    if (end > unit) PRISM_TRY(image.Store(unit, end, made));
    unit = std::max(end, unit + 1);
  }
  made.pieces = MergePieces(SelectUnits(input.old, changed, false), made.pieces);
  return made;
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
                                 static_cast<uint8_t>(piece.chunk_unit + i), piece.chunk});
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
