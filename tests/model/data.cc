// A file's bytes: units of kUnitBytes that were written, and holes where there is none.
#include <algorithm>

#include "tests/model/node.h"

namespace prism::model {
namespace {

// Calls visit(unit number, first byte within the unit, bytes) for every unit the range touches.
template <typename Visit>
void ForEachUnit(uint64_t offset, uint64_t length, Visit visit) {
  while (length > 0) {
    uint64_t within = offset % kUnitBytes;
    uint64_t piece = std::min(length, kUnitBytes - within);
    visit(offset / kUnitBytes, within, piece);
    offset += piece;
    length -= piece;
  }
}

}  // namespace

void WriteBytes(Node& node, uint64_t offset, std::string_view bytes) {
  node.size = std::max<uint64_t>(node.size, offset + bytes.size());
  ForEachUnit(offset, bytes.size(), [&](uint64_t unit, uint64_t within, uint64_t piece) {
    std::string& content = node.units[unit];
    content.resize(kUnitBytes, '\0');
    content.replace(within, piece, bytes.substr(0, piece));
    bytes.remove_prefix(piece);
  });
}

std::string ReadBytes(const Node& node, uint64_t offset, uint64_t length) {
  if (offset >= node.size) return {};
  length = std::min(length, node.size - offset);
  std::string bytes;
  ForEachUnit(offset, length, [&](uint64_t unit, uint64_t within, uint64_t piece) {
    auto found = node.units.find(unit);
    if (found == node.units.end()) {
      bytes.append(piece, '\0');
    } else {
      bytes.append(found->second, within, piece);
    }
  });
  return bytes;
}

void Punch(Node& node, uint64_t offset, uint64_t length) {
  uint64_t end = offset + length;
  auto unit = node.units.lower_bound(offset / kUnitBytes);
  while (unit != node.units.end() && unit->first * kUnitBytes < end) {
    uint64_t start = unit->first * kUnitBytes;
    uint64_t first = std::max(start, offset) - start;
    uint64_t last = std::min(start + kUnitBytes, end) - start;
    if (first == 0 && last == kUnitBytes) {
      unit = node.units.erase(unit);
    } else {
      unit->second.replace(first, last - first, last - first, '\0');
      ++unit;
    }
  }
}

void Resize(Node& node, uint64_t size) {
  if (size < node.size) {
    // Up to the end of the last unit, so that what is beyond the end can never come back.
    uint64_t units = node.size / kUnitBytes + 1;
    Punch(node, size, units * kUnitBytes - size);
  }
  node.size = size;
}

}  // namespace prism::model
