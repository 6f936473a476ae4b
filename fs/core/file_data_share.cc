// Finding holes, sharing content between files, and the bodies of new files.
#include <algorithm>
#include <functional>
#include <string>

#include "fs/core/file_data.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::kBlockSize;
using cow::kUnitSize;
using cow::MakeKey;

constexpr uint64_t kShareBlocksMax = kItemsPerStep / 2;

uint64_t PieceBegin(uint64_t block, const cow::Piece& piece) {
  return block * kBlockSize + uint64_t{piece.unit} * kUnitSize;
}

// Looks for where data begins, or ends, at or after `at`, along the pieces in order.
struct Seeker {
  SeekWhence whence;
  uint64_t at;
  bool found = false;

  // False: found.
  bool Next(uint64_t block, const cow::Piece& piece) {
    const uint64_t begin = PieceBegin(block, piece);
    const uint64_t end = begin + uint64_t{piece.units} * kUnitSize;
    if (end <= at) return true;
    if (whence == SeekWhence::kData) {
      at = std::max(at, begin);
      found = true;
      return false;
    }
    if (begin > at) {
      found = true;
      return false;
    }
    at = end;
    return true;
  }
};

}  // namespace

Result<uint64_t> FileData::Seek(InodeId ino, uint64_t offset, SeekWhence whence, Check check) {
  PRISM_TRY(Flush(ino));
  Seeker seeker{whence, offset};
  uint64_t next_block = offset / kBlockSize;
  uint64_t size = 0;
  for (bool more = true; more && !seeker.found;) {
    auto view = map_.Read();
    PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
    PRISM_TRY(check(*view, record));
    size = record.attr.size;
    if (offset >= size) return Fail(Err::kNoSuchExtent);
    if ((record.flags & kHasInlineData) != 0) {
      // As if it were stored in units, like all else.
      const uint64_t length = std::min<uint64_t>(size, kUnitSize);
      if (whence == SeekWhence::kHole) return std::max(offset, length);
      if (offset < length) return offset;
      return Fail(Err::kNoSuchExtent);
    }
    more = false;
    size_t items = 0;
    Status decoded;
    auto visit = [&](cow::Key key, std::string_view value) {
      if (++items > kItemsPerStep) {
        next_block = key.lo;
        more = true;
        return false;
      }
      auto pieces = cow::DecodeExtent(value);
      if (!pieces) {
        decoded = Fail(pieces.error());
        return false;
      }
      for (const cow::Piece& piece : *pieces)
        if (!seeker.Next(key.lo, piece)) return false;
      return true;
    };
    PRISM_TRY(view->Scan(MakeKey(ItemType::kExtent, ino, next_block),
                         cow::EndKey(ItemType::kExtent, ino), visit));
    PRISM_TRY(decoded);
  }
  if (whence == SeekWhence::kHole) return std::min(seeker.at, size);
  if (!seeker.found || seeker.at >= size) return Fail(Err::kNoSuchExtent);
  return seeker.at;
}

struct FileData::ShareRange {
  InodeId from = 0;
  uint64_t from_offset = 0;
  InodeId to = 0;
  uint64_t to_offset = 0;
  uint64_t length = 0;
};

// Reduces the range to what can be shared: whole units, but for the source's tail where the target
// ends with it.
Result<uint64_t> FileData::FitRange(ShareRange& range) const {
  auto view = map_.Read();
  PRISM_ASSIGN(const InodeRecord source, Load(*view, range.from));
  PRISM_ASSIGN(const InodeRecord target, Load(*view, range.to));
  if (((source.flags | target.flags) & kHasInlineData) != 0) return 0;
  if (range.from_offset >= source.stored_size) return 0;
  const uint64_t begin_in_block = range.to_offset % kBlockSize;
  uint64_t length = std::min({range.length, source.stored_size - range.from_offset,
                              kShareBlocksMax * kBlockSize - begin_in_block});
  const bool to_the_end = range.from_offset + length == source.stored_size &&
                          range.to_offset + length >= target.attr.size;
  if (!to_the_end) length -= length % kUnitSize;
  if (range.to_offset + length > kFileSizeMax) length = 0;
  range.length = length;
  return length;
}

Result<uint64_t> FileData::Share(InodeId from, uint64_t from_offset, InodeId to, uint64_t to_offset,
                                 uint64_t length, Edit edit) {
  if (from_offset % kUnitSize != 0 || from_offset % kBlockSize != to_offset % kBlockSize) return 0;
  PRISM_TRY(Flush(from));
  PRISM_TRY(Flush(to));
  for (;;) {
    // Two files' locks are taken in the order of their numbers.
    StatePtr low = files_.FindOrMake(std::min(from, to));
    StatePtr high = from == to ? low : files_.FindOrMake(std::max(from, to));
    std::unique_lock low_lock(low->flush_lock);
    std::unique_lock<std::mutex> high_lock;
    if (high != low) high_lock = std::unique_lock(high->flush_lock);
    FileState& target = to == low->ino ? *low : *high;
    FileState& source = to == low->ino ? *high : *low;
    Result<uint64_t> shared = 0;
    bool again = false;
    {
      std::unique_lock data_lock(target.data_lock);
      ShareRange range{from, from_offset, to, to_offset, length};
      again = target.dead;
      if (!again) {
        auto fits = FitRange(range);
        shared = fits && *fits > 0 && !source.dead ? ShareLocked(target, range, edit) : fits;
        again = fits && source.dead && &source != &target;
        RemoveIfClean(target);
      }
    }
    if (&source != &target) {
      std::unique_lock data_lock(source.data_lock);
      RemoveIfClean(source);
    }
    if (!again) return shared;
  }
}

Result<uint64_t> FileData::ShareLocked(FileState& target, const ShareRange& range, Edit edit) {
  struct Entry {
    uint64_t block = 0;
    std::vector<cow::Piece> pieces;
  };
  std::vector<Entry> entries;
  int64_t used = 0;
  const uint64_t end = range.to_offset + range.length;
  {
    auto view = map_.Read();
    for (uint64_t at = range.to_offset; at < end;) {
      const uint64_t block = at / kBlockSize;
      const uint64_t to = std::min(end, (block + 1) * kBlockSize);
      const uint64_t first_unit = at % kBlockSize / kUnitSize;
      const uint64_t end_unit = (to - block * kBlockSize + kUnitSize - 1) / kUnitSize;
      const uint32_t mask = ((1u << end_unit) - 1) & ~((1u << first_unit) - 1);
      PRISM_ASSIGN(auto old, LoadPieces(*view, range.to, block));
      PRISM_ASSIGN(auto source, LoadPieces(*view, range.from,
                                           block + range.from_offset / kBlockSize -
                                               range.to_offset / kBlockSize));
      Entry entry{block,
                  MergePieces(SelectUnits(old, mask, false), SelectUnits(source, mask, true))};
      used += static_cast<int64_t>(UsedBytes(entry.pieces)) - static_cast<int64_t>(UsedBytes(old));
      if (entry.pieces != old) entries.push_back(std::move(entry));
      at = to;
    }
  }
  auto transaction = map_.Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, range.to));
  if (used > 0) PRISM_TRY(RequireRoom(*transaction, 0, static_cast<uint64_t>(used)));
  for (const Entry& entry : entries) {
    const cow::Key key = MakeKey(ItemType::kExtent, range.to, entry.block);
    if (entry.pieces.empty()) {
      transaction->Erase(key);
    } else {
      transaction->Put(key, cow::EncodeExtent(entry.pieces));
    }
  }
  record.stored_used += static_cast<uint64_t>(used);
  record.stored_size = std::max(record.stored_size, end);
  record.attr.mtime = record.attr.ctime = Now();
  ++record.attr.change;
  transaction->AddUsage(0, used);
  PRISM_TRY(edit(*transaction, record));
  StoreInode(*transaction, record);
  PRISM_TRY(transaction->Commit());
  // A waiting size that is smaller has been overtaken.
  auto view = map_.Read();
  std::lock_guard attr_lock(target.attr_lock);
  if (target.has_size) target.size = std::max(target.size, end);
  return range.length;
}

Result<ComposedBlock> FileData::ComposeInitial(std::span<const std::byte> body) {
  if (body.size() <= kInlineMax) return ComposedBlock{};
  DirtyBlock block;
  block.Write(0, body);
  BlockInput input;
  input.dirty = &block;
  input.end = static_cast<uint32_t>(body.size());
  return ComposeBlock(store_, NameOfBlock(0, 0), std::move(input));
}

void FileData::PutInitial(cow::WriteTransaction& transaction, InodeRecord& record,
                          std::span<const std::byte> body, const ComposedBlock& block) {
  const InodeId ino = record.attr.ino;
  record.stored_size = record.attr.size = body.size();
  if (!block.pieces.empty()) {
    record.stored_used = UsedBytes(block.pieces);
    transaction.Put(MakeKey(ItemType::kExtent, ino, 0), cow::EncodeExtent(block.pieces));
  } else if (body.size() <= kInlineMax) {
    std::string bytes(reinterpret_cast<const char*>(body.data()), body.size());
    if (bytes.find_first_not_of('\0') == bytes.npos) return;
    record.stored_used = bytes.size();
    record.flags |= kHasInlineData;
    transaction.Put(MakeKey(ItemType::kInlineData, ino), std::move(bytes));
  }
  record.attr.used_bytes = record.stored_used;
  transaction.AddUsage(0, static_cast<int64_t>(record.stored_used));
}

}  // namespace prism::fs
