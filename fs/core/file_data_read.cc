#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "fs/core/file_data.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::kBlockSize;
using cow::MakeKey;

void CopyBlocks(const BlockMap& blocks, uint64_t offset, std::span<std::byte> out) {
  const uint64_t end = offset + out.size();
  for (auto at = blocks.lower_bound(offset / kBlockSize);
       at != blocks.end() && at->first * kBlockSize < end; ++at) {
    const uint64_t block_begin = at->first * kBlockSize;
    const uint64_t from = std::max(offset, block_begin);
    const uint64_t to = std::min(end, block_begin + kBlockSize);
    at->second->CopyTo(static_cast<uint32_t>(from - block_begin),
                       out.subspan(from - offset, to - from));
  }
}

bool Covered(const BlockMap& blocks, uint64_t offset, uint64_t end) {
  while (offset < end) {
    auto at = blocks.find(offset / kBlockSize);
    if (at == blocks.end()) return false;
    const uint64_t block_begin = at->first * kBlockSize;
    const uint64_t to = std::min(end, block_begin + kBlockSize);
    if (!at->second->Covers(static_cast<uint32_t>(offset - block_begin),
                            static_cast<uint32_t>(to - block_begin)))
      return false;
    offset = to;
  }
  return true;
}

void FillZero(std::span<std::byte> out) {
  if (!out.empty()) std::memset(out.data(), 0, out.size());
}

}  // namespace

Result<InodeRecord> FileData::Load(const cow::ReadView& view, InodeId ino) const {
  auto record = LoadInode(view, ino);
  if (record && record->attr.nlink == 0 && !holds_.Contains(ino)) return Fail(Err::kStale);
  if (record) {
    files_.Overlay(*record);
    lazy_times_.Overlay(record->attr);
  }
  return record;
}

void FileData::NoteRead(const cow::ReadView&, const InodeRecord& record) {
  if (map_.read_only(record.attr.ino)) return;
  const Timespec now = Now();
  if (AtimeIsDue(record.attr, now)) lazy_times_.Note(record.attr.ino, now);
}

Result<std::vector<cow::Piece>> FileData::LoadPieces(const cow::ReadView& view, InodeId ino,
                                                     uint64_t block) const {
  thread_local std::string value;
  PRISM_ASSIGN(const bool found, view.Get(MakeKey(ItemType::kExtent, ino, block), value));
  if (!found) return std::vector<cow::Piece>{};
  auto pieces = cow::DecodeExtent(value);
  if (!pieces)
    spdlog::error("volume {}, inode {}, block {}: its pieces do not decode", volume_, ino, block);
  return pieces;
}

Status FileData::ReadExtents(const cow::ReadView& view, InodeId ino, uint64_t offset,
                             std::span<std::byte> out, std::vector<KeptPart>* kept) const {
  const uint64_t end = offset + out.size();
  uint64_t at = offset;
  Status status;
  std::vector<cow::ChunkRead> reads;
  auto visit = [&](cow::Key key, std::string_view value) {
    const uint64_t block_begin = key.lo * kBlockSize;
    const uint64_t from = std::max(at, block_begin);
    const uint64_t to = std::min(end, block_begin + kBlockSize);
    FillZero(out.subspan(at - offset, from - at));
    auto pieces = cow::DecodeExtent(value);
    if (!pieces) {
      spdlog::error("volume {}, inode {}, block {}: its pieces do not decode", volume_, ino,
                    key.lo);
      status = Fail(pieces.error());
      return false;
    }
    PlanPieces(*pieces, static_cast<uint32_t>(from - block_begin),
               out.subspan(from - offset, to - from), reads);
    at = to;
    return true;
  };
  PRISM_TRY(view.Scan(MakeKey(ItemType::kExtent, ino, offset / kBlockSize),
                      MakeKey(ItemType::kExtent, ino, (end + kBlockSize - 1) / kBlockSize), visit));
  PRISM_TRY(status);
  FillZero(out.subspan(at - offset));
  std::vector<KeptBytes> found(kept == nullptr ? 0 : reads.size());
  for (size_t i = 0; i < found.size(); ++i) reads[i].kept = &found[i];
  status = store_.ReadAll(reads);
  if (!status)
    spdlog::error("volume {}, inode {}: {} bytes at {} cannot be read: {}", volume_, ino,
                  out.size(), offset, NameOf(status.error()));
  for (size_t i = 0; i < found.size(); ++i)
    if (found[i].owner != nullptr)
      kept->push_back({static_cast<size_t>(reads[i].out.data() - out.data()), std::move(found[i])});
  return status;
}

Status FileData::ReadStored(const cow::ReadView& view, const InodeRecord& record, uint64_t offset,
                            std::span<std::byte> out, std::vector<KeptPart>* kept) const {
  const InodeId ino = record.attr.ino;
  if ((record.flags & kHasInlineData) != 0) {
    thread_local std::string value;
    PRISM_ASSIGN(const bool found, view.Get(MakeKey(ItemType::kInlineData, ino), value));
    if (!found) {
      spdlog::error("volume {}, inode {}: its inline data is missing", volume_, ino);
      return Fail(Err::kCorrupt);
    }
    const uint64_t from = std::min<uint64_t>(offset, value.size());
    const uint64_t length = std::min<uint64_t>(value.size() - from, out.size());
    if (length > 0) std::memcpy(out.data(), value.data() + from, length);
    FillZero(out.subspan(length));
    return {};
  }
  if (record.stored_used == 0) {
    FillZero(out);
    return {};
  }
  return ReadExtents(view, ino, offset, out, kept);
}

// The view lives while chunks are read: what it shows cannot be freed meanwhile. The store's own
// cache answers most reads; a miss delays this volume's writers by one read of the medium.
Result<ReadResult> FileData::Read(InodeId ino, uint64_t offset, std::span<std::byte> buffer,
                                  Check check, std::vector<KeptPart>* kept) {
  for (;;) {
    const StatePtr state = files_.Find(ino);
    std::shared_lock<std::shared_mutex> data_lock;
    if (state != nullptr) {
      data_lock = std::shared_lock(state->data_lock);
      if (state->dead) continue;
    }
    auto view = map_.Read();
    PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
    // The record then has a size whose bytes wait where we have not looked.
    if (state == nullptr && files_.Find(ino) != nullptr) continue;
    PRISM_TRY(check(*view, record));
    if (!buffer.empty()) NoteRead(*view, record);
    ReadResult result;
    result.attr = record.attr;
    lazy_times_.Overlay(result.attr);
    const uint64_t size = record.attr.size;
    const uint64_t length =
        offset >= size ? 0 : std::min<uint64_t>({buffer.size(), size - offset, kIoMax});
    result.length = static_cast<uint32_t>(length);
    result.eof = offset + length >= size;
    buffer = buffer.first(length);
    if (length == 0) return result;
    if (state == nullptr || !Covered(state->active, offset, offset + length))
      PRISM_TRY(ReadStored(*view, record, offset, buffer, state == nullptr ? kept : nullptr));
    view.reset();
    if (state != nullptr) {
      CopyBlocks(state->flushing, offset, buffer);
      CopyBlocks(state->active, offset, buffer);
    }
    return result;
  }
}

// Of the buffer only what is not kept is touched: the rest costs no memory.
Result<KeptRead> FileData::ReadKept(InodeId ino, uint64_t offset, size_t length, Check check) {
  const auto buffer = std::make_shared_for_overwrite<std::byte[]>(length);
  std::vector<KeptPart> kept;
  KeptRead read;
  PRISM_ASSIGN(read.result, Read(ino, offset, {buffer.get(), length}, check, &kept));
  size_t at = 0;
  auto add_until = [&](size_t end) {
    if (at < end) read.parts.push_back({buffer, {buffer.get() + at, end - at}});
  };
  for (KeptPart& part : kept) {
    add_until(part.at);
    at = part.at + part.kept.bytes.size();
    read.parts.push_back(std::move(part.kept));
  }
  add_until(read.result.length);
  return read;
}

}  // namespace prism::fs
