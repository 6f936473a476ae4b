// Read, Write, Fallocate, Seek, CopyRange.
#include <algorithm>
#include <cstring>

#include "tests/model/model_file_system.h"
#include "tests/model/node.h"

namespace prism::model {
namespace {

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// offset + length may not overflow nor leave the largest file.
bool Fits(uint64_t offset, uint64_t length) {
  return offset <= fs::kFileSizeMax && length <= fs::kFileSizeMax - offset;
}

bool Overlap(uint64_t a, uint64_t b, uint64_t length) { return a < b + length && b < a + length; }

// What is data in the source, as data; what is a hole, as a hole. Both ranges are valid.
void CopyData(const Node& from, uint64_t from_offset, Node& to, uint64_t to_offset,
              uint64_t length) {
  const Node source = from;  // `to` may be the same node
  Punch(to, to_offset, length);
  to.size = std::max(to.size, to_offset + length);
  for (auto unit = source.units.lower_bound(from_offset / kUnitBytes);
       unit != source.units.end() && unit->first * kUnitBytes < from_offset + length; ++unit) {
    uint64_t start = unit->first * kUnitBytes;
    uint64_t first = std::max(start, from_offset);
    uint64_t last = std::min(start + kUnitBytes, from_offset + length);
    std::string_view bytes = std::string_view(unit->second).substr(first - start, last - first);
    WriteBytes(to, to_offset + (first - from_offset), bytes);
  }
}

}  // namespace

Result<fs::ReadResult> ModelFileSystem::Read(const fs::Caller& caller, InodeId ino, uint64_t offset,
                                             std::span<std::byte> buffer) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, FindRegular(ino));
  PRISM_TRY(CheckData(caller, *node, kMayRead));
  if (buffer.size() > fs::kIoMax) return Fail(Err::kInvalid);
  std::string bytes = ReadBytes(*node, offset, buffer.size());
  std::memcpy(buffer.data(), bytes.data(), bytes.size());
  if (!buffer.empty()) Accessed(*node);
  bool eof = offset >= node->size || offset + bytes.size() == node->size;
  return fs::ReadResult{static_cast<uint32_t>(bytes.size()), eof, AttrOf(*node)};
}

Result<fs::WriteResult> ModelFileSystem::Write(const fs::Caller& caller,
                                               const fs::WriteArgs& args) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  PRISM_ASSIGN(Node * node, FindRegular(args.ino));
  PRISM_TRY(CheckData(caller, *node, kMayWrite));
  if (args.data.size() > fs::kIoMax) return Fail(Err::kInvalid);
  fs::WriteResult result;
  result.offset = args.append ? node->size : args.offset;
  if (args.append && args.append_at && result.offset != args.offset) return Fail(Err::kAgain);
  if (!Fits(result.offset, args.data.size())) return Fail(Err::kTooLarge);
  PRISM_TRY(Changeable({node}));
  result.length = static_cast<uint32_t>(args.data.size());
  result.committed = fs::Stability::kFileSync;
  result.change.before = AttrOf(*node);
  if (!args.data.empty()) {
    WriteBytes(*node, result.offset, AsText(args.data));
    if (args.kill_privileges || (caller.check_permission && caller.uid != 0)) KillPrivileges(*node);
    TouchData(*node);
    Notify(fs::Event::Kind::kInode, args.ino);
  }
  result.change.after = AttrOf(*node);
  return result;
}

Result<fs::Change> ModelFileSystem::Fallocate(const fs::Caller& caller, InodeId ino,
                                              fs::FallocateMode mode, uint64_t offset,
                                              uint64_t length) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  if (mode > fs::FallocateMode::kZeroRangeKeep || length == 0) return Fail(Err::kInvalid);
  if (!Fits(offset, length)) return Fail(Err::kTooLarge);
  PRISM_ASSIGN(Node * node, FindRegular(ino));
  PRISM_TRY(CheckData(caller, *node, kMayWrite));
  PRISM_TRY(Changeable({node}));
  fs::Change change{AttrOf(*node), {}};
  bool zero = mode != fs::FallocateMode::kAllocate && mode != fs::FallocateMode::kAllocateKeep;
  bool grow = mode == fs::FallocateMode::kAllocate || mode == fs::FallocateMode::kZeroRange;
  if (zero) Punch(*node, offset, length);
  if (grow) node->size = std::max(node->size, offset + length);
  if (caller.check_permission && caller.uid != 0) KillPrivileges(*node);
  TouchData(*node);
  Notify(fs::Event::Kind::kInode, ino);
  change.after = AttrOf(*node);
  return change;
}

Result<uint64_t> ModelFileSystem::Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                                       fs::SeekWhence whence) {
  std::lock_guard lock(world_->mutex);
  PRISM_ASSIGN(Node * node, FindRegular(ino));
  PRISM_TRY(CheckData(caller, *node, kMayRead));
  if (whence > fs::SeekWhence::kHole) return Fail(Err::kInvalid);
  if (offset >= node->size) return Fail(Err::kNoSuchExtent);
  uint64_t unit = offset / kUnitBytes;
  if (whence == fs::SeekWhence::kData) {
    auto found = node->units.lower_bound(unit);
    if (found == node->units.end()) return Fail(Err::kNoSuchExtent);
    return std::max(offset, found->first * kUnitBytes);
  }
  while (node->units.contains(unit)) ++unit;
  return std::min(node->size, std::max(offset, unit * kUnitBytes));
}

Result<uint64_t> ModelFileSystem::CopyRange(const fs::Caller& caller, InodeId from_ino,
                                            uint64_t from_offset, InodeId to_ino,
                                            uint64_t to_offset, uint64_t length) {
  std::lock_guard lock(world_->mutex);
  PRISM_TRY(Writable());
  for (InodeId ino : {from_ino, to_ino}) PRISM_TRY(Find(ino));
  PRISM_ASSIGN(Node * from, FindRegular(from_ino));
  PRISM_ASSIGN(Node * to, FindRegular(to_ino));
  PRISM_TRY(CheckData(caller, *from, kMayRead));
  PRISM_TRY(CheckData(caller, *to, kMayWrite));
  PRISM_TRY(Changeable({to}));
  if (from_offset >= from->size) return uint64_t{0};
  length = std::min(length, from->size - from_offset);
  if (length == 0) return uint64_t{0};
  if (!Fits(to_offset, length)) return Fail(Err::kTooLarge);
  if (from == to && Overlap(from_offset, to_offset, length)) return Fail(Err::kInvalid);
  CopyData(*from, from_offset, *to, to_offset, length);
  if (caller.check_permission && caller.uid != 0) KillPrivileges(*to);
  TouchData(*to);
  Accessed(*from);
  Notify(fs::Event::Kind::kInode, to_ino);
  return length;
}

}  // namespace prism::model
