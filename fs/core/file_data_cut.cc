// Truncation, growth and punching of what is stored.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>

#include "fs/core/file_data.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::kBlockSize;
using cow::MakeKey;

uint64_t BlocksOf(uint64_t bytes) { return bytes / kBlockSize + (bytes % kBlockSize != 0); }

void Touch(Attr& attr) {
  attr.mtime = attr.ctime = Now();
  ++attr.change;
}

bool HasUnsavedBelow(const BlockMap& blocks, uint64_t offset) {
  if (blocks.empty()) return false;
  const auto& [number, block] = *blocks.begin();
  return !block->empty() && number * kBlockSize + block->ranges().front().begin < offset;
}

}  // namespace

// The new form of a block of which only a part is cut.
struct FileData::Edge {
  uint64_t block = 0;
  bool changed = false;
  std::vector<cow::Piece> old;
  ComposedBlock made;
};

struct FileData::Quiet {
  StatePtr state;
  std::unique_lock<std::mutex> flush_lock;
  std::unique_lock<std::shared_mutex> data_lock;
};

Result<FileData::Quiet> FileData::LockQuiet(InodeId ino) {
  constexpr int kTries = 8;
  for (int i = 0;; ++i) {
    // Writers who keep coming between the flush and the lock are held back at last.
    const bool stop = i >= kTries;
    if (stop) barrier_.Stop();
    const Status flushed = Flush(ino);
    Quiet quiet;
    quiet.state = files_.FindOrMake(ino);
    quiet.flush_lock = std::unique_lock(quiet.state->flush_lock);
    quiet.data_lock = std::unique_lock(quiet.state->data_lock);
    if (stop) barrier_.Resume();
    PRISM_TRY(flushed);
    if (quiet.state->dead || !quiet.state->active.empty()) continue;
    std::lock_guard attr_lock(quiet.state->attr_lock);
    if (!quiet.state->has_size) return quiet;
  }
}

// Erases a run of blocks, and returns the bytes that were used there.
Result<uint64_t> FileData::EraseBlocks(cow::WriteTransaction& transaction, InodeId ino,
                                       uint64_t first, uint64_t end) {
  if (first >= end) return 0;
  uint64_t used = 0;
  Status decoded;
  const cow::Key begin_key = MakeKey(ItemType::kExtent, ino, first);
  const cow::Key end_key = MakeKey(ItemType::kExtent, ino, end);
  PRISM_TRY(transaction.Scan(begin_key, end_key, [&](cow::Key, std::string_view value) {
    auto pieces = cow::DecodeExtent(value);
    if (!pieces) {
      decoded = Fail(pieces.error());
      return false;
    }
    used += UsedBytes(*pieces);
    return true;
  }));
  PRISM_TRY(decoded);
  if (used > 0) transaction.EraseRange(begin_key, end_key);
  return used;
}

// Erases blocks of [first, end) from the end, a bounded number in each transaction, until one more
// can take the rest. Returns the end of that rest.
Result<uint64_t> FileData::EraseFromEnd(InodeId ino, uint64_t first, uint64_t end, bool shrink) {
  uint64_t width = end - first;
  while (first < end) {
    width = std::min(width, end - first);
    const uint64_t low = end - width;
    size_t items = 0;
    {
      auto view = map_.Read();
      PRISM_TRY(view->Scan(MakeKey(ItemType::kExtent, ino, low),
                           MakeKey(ItemType::kExtent, ino, end),
                           [&](cow::Key, std::string_view) { return ++items <= kItemsPerStep; }));
    }
    if (items > kItemsPerStep) {
      width = std::max<uint64_t>(width / 2, 1);
      continue;
    }
    if (low == first) return end;
    auto transaction = map_.Write();
    PRISM_ASSIGN(InodeRecord record, Load(*transaction, ino));
    PRISM_ASSIGN(const uint64_t used, EraseBlocks(*transaction, ino, low, end));
    record.stored_used -= used;
    if (shrink) record.stored_size = std::min(record.stored_size, low * kBlockSize);
    StoreInode(*transaction, record);
    transaction->AddUsage(0, -static_cast<int64_t>(used));
    PRISM_TRY(transaction->Commit());
    end = low;
    if (items < kItemsPerStep / 2) width *= 2;
  }
  return end;
}

// Bytes [from, to) of one block become zeros; the file ends at `size`.
Result<FileData::Edge> FileData::ComposeEdge(InodeId ino, uint64_t from, uint64_t to,
                                             uint64_t size) {
  Edge edge;
  edge.block = from / kBlockSize;
  const uint64_t begin = edge.block * kBlockSize;
  {
    auto view = map_.Read();
    PRISM_ASSIGN(edge.old, LoadPieces(*view, ino, edge.block));
  }
  if (edge.old.empty()) return edge;
  DirtyBlock zeros;
  zeros.WriteZeros(static_cast<uint32_t>(from - begin),
                   static_cast<uint32_t>(std::min<uint64_t>(to - begin, kBlockSize)));
  BlockInput input;
  input.old = edge.old;
  input.dirty = &zeros;
  input.end = static_cast<uint32_t>(std::min<uint64_t>(kBlockSize, size - begin));
  PRISM_ASSIGN(edge.made, ComposeBlock(store_, NameOfBlock(ino, edge.block), std::move(input)));
  edge.changed = edge.made.pieces != edge.old;
  return edge;
}

Status FileData::PutEdge(cow::WriteTransaction& transaction, InodeRecord& record,
                         const Edge& edge) {
  if (!edge.changed) return {};
  const int64_t used =
      static_cast<int64_t>(UsedBytes(edge.made.pieces)) - static_cast<int64_t>(UsedBytes(edge.old));
  record.stored_used += static_cast<uint64_t>(used);
  transaction.AddUsage(0, used);
  const cow::Key key = MakeKey(ItemType::kExtent, record.attr.ino, edge.block);
  if (edge.made.pieces.empty()) {
    transaction.Erase(key);
  } else {
    transaction.Put(key, cow::EncodeExtent(edge.made.pieces));
  }
  return {};
}

// Zeros [from, to) of an inline body, or ends it at `from`.
Status FileData::CutInline(cow::WriteTransaction& transaction, InodeRecord& record, uint64_t from,
                           uint64_t to, bool truncate) {
  const cow::Key key = MakeKey(ItemType::kInlineData, record.attr.ino);
  std::string body;
  PRISM_ASSIGN(const bool found, transaction.Get(key, body));
  if (!found) return Fail(Err::kCorrupt);
  if (from >= body.size()) return {};
  const size_t before = body.size();
  if (truncate || to >= body.size()) {
    body.resize(from);
  } else {
    std::memset(body.data() + from, 0, to - from);
  }
  if (body.find_first_not_of('\0') == body.npos) body.clear();
  record.stored_used = body.size();
  transaction.AddUsage(0, static_cast<int64_t>(body.size()) - static_cast<int64_t>(before));
  if (body.empty()) {
    record.flags &= ~uint32_t{kHasInlineData};
    transaction.Erase(key);
  } else {
    transaction.Put(key, std::move(body));
  }
  return {};
}

Result<Change> FileData::SetSize(InodeId ino, uint64_t size, Check check, Edit edit) {
  DataBarrier::Pass pass(cut_barrier_);
  bool shrink = false;
  {
    auto view = map_.Read();
    PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
    PRISM_TRY(check(*view, record));
    shrink = size < record.attr.size;
  }
  // What is cut away need not be saved first. What stays must be where the stored size grows over
  // it: a size is never stored before its data, and a new one is stored with the change.
  for (;;) {
    Quiet quiet;
    if (shrink) {
      quiet.state = files_.FindOrMake(ino);
      quiet.flush_lock = std::unique_lock(quiet.state->flush_lock);
      quiet.data_lock = std::unique_lock(quiet.state->data_lock);
      if (quiet.state->dead) continue;
    } else {
      PRISM_ASSIGN(quiet, LockQuiet(ino));
    }
    auto change = ResizeLocked(*quiet.state, size, shrink, edit);
    RemoveIfClean(*quiet.state);
    if (change || change.error() != Err::kAgain) return change;
    shrink = false;
  }
}

Result<Change> FileData::ResizeLocked(FileState& state, uint64_t size, bool may_be_unsaved,
                                      Edit edit) {
  InodeRecord record;
  {
    auto view = map_.Read();
    PRISM_ASSIGN(record, Load(*view, state.ino));
  }
  const bool grows = size >= record.attr.size ||
                     (size > record.stored_size && HasUnsavedBelow(state.active, size));
  if (may_be_unsaved && grows) return Fail(Err::kAgain);
  if (size < record.attr.size) return ShrinkLocked(state, record, size, edit);
  auto transaction = map_.Write();
  PRISM_ASSIGN(record, Load(*transaction, state.ino));
  Change change;
  change.before = record.attr;
  record.stored_size = record.attr.size = size;
  Touch(record.attr);
  PRISM_TRY(edit(*transaction, record));
  StoreInode(*transaction, record);
  PRISM_TRY(transaction->Commit());
  change.after = record.attr;
  return change;
}

Result<Change> FileData::ShrinkLocked(FileState& state, const InodeRecord& old, uint64_t size,
                                      Edit edit) {
  const bool is_inline = (old.flags & kHasInlineData) != 0;
  const bool has_extents = !is_inline && old.stored_used > 0;
  const uint64_t first = BlocksOf(size);
  uint64_t end = BlocksOf(old.stored_size);
  Edge edge;
  if (has_extents && first < end) {
    // Everybody sees the old size until the last step.
    SetWaitingSize(state, old.attr.size);
    PRISM_ASSIGN(end, EraseFromEnd(state.ino, first, end, true));
  }
  if (has_extents && size % kBlockSize != 0 && size < old.stored_size) {
    PRISM_ASSIGN(edge, ComposeEdge(state.ino, size, first * kBlockSize, size));
  }
  auto transaction = map_.Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, state.ino));
  Change change;
  change.before = record.attr;
  if (is_inline) {
    PRISM_TRY(CutInline(*transaction, record, size, size, true));
  } else if (has_extents) {
    PRISM_ASSIGN(const uint64_t used, EraseBlocks(*transaction, state.ino, first, end));
    record.stored_used -= used;
    transaction->AddUsage(0, -static_cast<int64_t>(used));
    PRISM_TRY(PutEdge(*transaction, record, edge));
  }
  record.stored_size = record.attr.size = size;
  Touch(record.attr);
  PRISM_TRY(edit(*transaction, record));
  StoreInode(*transaction, record);
  PRISM_TRY(CommitShrink(state, *transaction, record));
  state.Overlay(record);
  files_.ExpectUsed(state, record.attr.used_bytes - record.stored_used);
  change.after = record.attr;
  return change;
}

void FileData::SetWaitingSize(FileState& state, uint64_t size) {
  auto view = map_.Read();
  std::lock_guard attr_lock(state.attr_lock);
  state.has_size = true;
  state.size = size;
}

// The waiting attributes change before the transaction ends, while nobody can see both.
Status FileData::CommitShrink(FileState& state, cow::WriteTransaction& transaction,
                              const InodeRecord& record) {
  const uint64_t size = record.attr.size;
  bool had_size = false;
  uint64_t old_size = 0;
  {
    std::lock_guard attr_lock(state.attr_lock);
    had_size = std::exchange(state.has_size, false);
    old_size = std::exchange(state.size, size);
  }
  auto committed = transaction.Commit();
  std::lock_guard attr_lock(state.attr_lock);
  if (!committed) {
    state.has_size = had_size;
    state.size = old_size;
    return Fail(committed.error());
  }
  state.active.erase(state.active.lower_bound(BlocksOf(size)), state.active.end());
  if (!state.active.empty() && state.active.rbegin()->first == size / kBlockSize) {
    DirtyBlock& last = *state.active.rbegin()->second;
    last.Truncate(static_cast<uint32_t>(size % kBlockSize));
    if (last.empty()) state.active.erase(state.active.rbegin()->first);
  }
  state.unsaved_bytes = 0;
  uint64_t memory = kStateBytes;
  for (const auto& [number, block] : state.active) {
    state.unsaved_bytes += block->ValidBytes();
    memory += block->MemoryBytes();
  }
  files_.Charge(state, static_cast<int64_t>(memory) - static_cast<int64_t>(state.charged));
  return {};
}

Result<Change> FileData::Zero(InodeId ino, uint64_t from, uint64_t to, bool grow, Check check,
                              Edit edit) {
  DataBarrier::Pass pass(cut_barrier_);
  {
    auto view = map_.Read();
    PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
    PRISM_TRY(check(*view, record));
  }
  PRISM_ASSIGN(Quiet quiet, LockQuiet(ino));
  auto change = ZeroLocked(*quiet.state, from, to, grow, edit);
  RemoveIfClean(*quiet.state);
  return change;
}

Result<Change> FileData::ZeroLocked(FileState& state, uint64_t from, uint64_t to, bool grow,
                                    Edit edit) {
  InodeRecord old;
  {
    auto view = map_.Read();
    PRISM_ASSIGN(old, Load(*view, state.ino));
  }
  const uint64_t size = old.stored_size;
  const uint64_t new_size = grow ? std::max(size, to) : size;
  const uint64_t cut_to = std::min(to, size);
  const bool is_inline = (old.flags & kHasInlineData) != 0;
  const bool cuts = !is_inline && old.stored_used > 0 && from < cut_to;
  const uint64_t first = BlocksOf(from);
  // What lies in the last block behind the end of the file is zeros already.
  uint64_t end = cut_to == size ? BlocksOf(cut_to) : cut_to / kBlockSize;
  Edge head, tail;
  if (cuts && from % kBlockSize != 0) {
    PRISM_ASSIGN(head, ComposeEdge(state.ino, from, std::min(cut_to, first * kBlockSize), size));
  }
  if (cuts && end * kBlockSize < cut_to && end >= first) {
    PRISM_ASSIGN(tail, ComposeEdge(state.ino, end * kBlockSize, cut_to, size));
  }
  const bool whole_blocks = cuts && first < end;
  if (whole_blocks) {
    PRISM_ASSIGN(end, EraseFromEnd(state.ino, first, end, false));
  }
  auto transaction = map_.Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, state.ino));
  Change change;
  change.before = record.attr;
  if (is_inline && from < cut_to) PRISM_TRY(CutInline(*transaction, record, from, cut_to, false));
  if (whole_blocks) {
    PRISM_ASSIGN(const uint64_t used, EraseBlocks(*transaction, state.ino, first, end));
    record.stored_used -= used;
    transaction->AddUsage(0, -static_cast<int64_t>(used));
  }
  PRISM_TRY(PutEdge(*transaction, record, head));
  PRISM_TRY(PutEdge(*transaction, record, tail));
  record.stored_size = record.attr.size = new_size;
  record.attr.used_bytes = record.stored_used;
  Touch(record.attr);
  PRISM_TRY(edit(*transaction, record));
  StoreInode(*transaction, record);
  PRISM_TRY(transaction->Commit());
  change.after = record.attr;
  return change;
}

}  // namespace prism::fs
