#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <string>
#include <system_error>
#include <thread>

#include "fs/base/check.h"
#include "fs/core/file_data.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::kBlockSize;
using cow::MakeKey;

uint64_t ValidBytes(const BlockMap& blocks) {
  uint64_t bytes = 0;
  for (const auto& [number, block] : blocks) bytes += block->ValidBytes();
  return bytes;
}

uint64_t MemoryBytes(const BlockMap& blocks) {
  uint64_t bytes = 0;
  for (const auto& [number, block] : blocks) bytes += block->MemoryBytes();
  return bytes;
}

// Blocks whose chunks are stored together: 1 MiB, a large read.
constexpr size_t kComposeTogether = 16;

// Threads besides the caller's that are worth their start (some 50 us) for this many blocks (some
// 60 us each).
size_t ComposeHelpers(size_t blocks) {
  static const size_t cores = std::clamp(std::thread::hardware_concurrency(), 1u, 4u);
  return std::min(cores, std::max<size_t>(1, blocks / kComposeTogether)) - 1;
}

void CountFull(FileState& state) {
  state.full_blocks =
      static_cast<size_t>(std::count_if(state.active.begin(), state.active.end(),
                                        [](const auto& entry) { return entry.second->IsFull(); }));
}

bool AllZero(std::string_view bytes) { return bytes.find_first_not_of('\0') == bytes.npos; }

}  // namespace

struct FileData::BatchEntry {
  uint64_t block = 0;
  const DirtyBlock* dirty = nullptr;
  std::vector<cow::Piece> old;
  ComposedBlock made;
};

// Blocks on their way into one transaction: state.flushing, and what becomes of them.
struct FileData::Batch {
  uint64_t size = 0;  // the file's, with all that had been written when the batch was taken
  bool last = false;  // nothing else was unsaved then
  bool was_inline = false;
  bool stays_inline = false;
  std::string inline_body;  // the old one; the new one when it stays inline
  uint64_t old_inline_bytes = 0;
  uint64_t stored_size = 0;  // after the batch
  std::vector<BatchEntry> entries;
};

Status FileData::Flush(InodeId ino) {
  StatePtr state = files_.Find(ino);
  if (state == nullptr) return {};
  std::lock_guard flush_lock(state->flush_lock);
  return FlushLocked(*state);
}

Status FileData::FlushLocked(FileState& state) {
  uint64_t last_block = 0;
  {
    std::shared_lock data_lock(state.data_lock);
    if (state.dead) return {};
    if (!state.active.empty()) last_block = state.active.rbegin()->first;
    state.dirty_since = std::chrono::steady_clock::now();
  }
  return FlushUpTo(state, last_block);
}

// What is behind the last full block keeps its age, and is most likely being written.
Status FileData::FlushFull(FileState& state) {
  uint64_t last_block = 0;
  {
    std::shared_lock data_lock(state.data_lock);
    if (state.dead) return {};
    auto full = std::find_if(state.active.rbegin(), state.active.rend(),
                             [](const auto& entry) { return entry.second->IsFull(); });
    if (full == state.active.rend()) return {};
    last_block = full->first;
  }
  return FlushUpTo(state, last_block);
}

Status FileData::FlushUpTo(FileState& state, uint64_t last_block) {
  // What is written meanwhile behind the first pass is left to the next flush.
  for (bool more = true; more;) {
    Batch batch;
    if (!TakeBatch(state, last_block, batch)) break;
    more = !batch.last;
    Status saved = SaveBatch(state, batch);
    if (!saved && saved.error() == Err::kStale) {
      DiscardLocked(state);
      return {};
    }
    FinishBatch(state, saved.has_value());
    PRISM_TRY(saved);
  }
  std::unique_lock data_lock(state.data_lock);
  RemoveIfClean(state);
  return {};
}

// False: there is nothing to save up to last_block.
bool FileData::TakeBatch(FileState& state, uint64_t last_block, Batch& batch) {
  std::unique_lock data_lock(state.data_lock);
  PRISM_CHECK(state.flushing.empty());
  if (state.dead) return false;
  while (!state.active.empty() && state.active.begin()->first <= last_block &&
         state.flushing.size() < kFlushBlocksMax)
    state.flushing.insert(state.active.extract(state.active.begin()));
  std::lock_guard attr_lock(state.attr_lock);
  if (state.flushing.empty() && !(state.has_size && state.active.empty())) return false;
  batch.last = state.active.empty() || state.active.begin()->first > last_block;
  // The whole size only goes with the whole data.
  const bool whole = state.active.empty();
  batch.size = state.has_size ? state.size : 0;
  batch.stored_size = whole || state.flushing.empty()
                          ? batch.size
                          : std::min(batch.size, (state.flushing.rbegin()->first + 1) * kBlockSize);
  batch.stays_inline = whole;
  for (const auto& [number, block] : state.flushing)
    batch.entries.push_back({number, block.get(), {}, {}});
  CountFull(state);
  return true;
}

Status FileData::SaveBatch(FileState& state, Batch& batch) {
  PRISM_TRY(ReadBatchInputs(state, batch));
  PRISM_TRY(ComposeBatch(state, batch));
  return CommitBatch(state, batch);
}

Status FileData::ReadBatchInputs(FileState& state, Batch& batch) {
  auto view = map_.Read();
  PRISM_ASSIGN(const InodeRecord record, LoadInode(*view, state.ino));
  batch.stored_size = std::max(batch.stored_size, record.stored_size);
  batch.size = std::max(batch.size, record.stored_size);
  batch.was_inline = (record.flags & kHasInlineData) != 0;
  batch.stays_inline &=
      batch.stored_size <= kInlineMax && (batch.was_inline || record.stored_used == 0);
  if (batch.was_inline) {
    PRISM_ASSIGN(const bool found,
                 view->Get(MakeKey(ItemType::kInlineData, state.ino), batch.inline_body));
    if (!found) return Fail(Err::kCorrupt);
    batch.old_inline_bytes = batch.inline_body.size();
    const bool has_first = !batch.entries.empty() && batch.entries.front().block == 0;
    if (!batch.stays_inline && !has_first)
      batch.entries.insert(batch.entries.begin(), BatchEntry{});
    return {};
  }
  if (record.stored_used == 0) return {};
  for (auto& entry : batch.entries) {
    PRISM_ASSIGN(entry.old, LoadPieces(*view, state.ino, entry.block));
  }
  return {};
}

Status FileData::ComposeBatch(FileState& state, Batch& batch) {
  if (batch.stays_inline) {
    for (const auto& entry : batch.entries) {
      const uint32_t end = entry.dirty->ranges().back().end;
      if (batch.inline_body.size() < end) batch.inline_body.resize(end);
      entry.dirty->CopyTo(0, std::as_writable_bytes(std::span(batch.inline_body)));
    }
    return {};
  }
  std::atomic<size_t> next{0};
  std::atomic<Err> error{Err::kOk};
  auto compose_some = [&] {
    for (;;) {
      const size_t first = next.fetch_add(kComposeTogether);
      if (first >= batch.entries.size() || error != Err::kOk) return;
      const auto entries = std::span(batch.entries).subspan(first);
      Status made =
          ComposeEntries(state, batch, entries.first(std::min(entries.size(), kComposeTogether)));
      if (!made) error.store(made.error());
    }
  };
  // Hashing and compressing are most of a flush, and whoever waits for it leaves a core idle.
  std::vector<std::thread> helpers;
  try {
    while (helpers.size() < ComposeHelpers(batch.entries.size()))
      helpers.emplace_back(compose_some);
  } catch (const std::system_error&) {
    // No more threads: those that there are do it.
  }
  compose_some();
  for (std::thread& helper : helpers) helper.join();
  if (error != Err::kOk) return Fail(error);
  return {};
}

Status FileData::ComposeEntries(const FileState& state, const Batch& batch,
                                std::span<BatchEntry> entries) {
  std::vector<NamedInput> blocks;
  for (const BatchEntry& entry : entries) {
    BlockInput input;
    input.old = entry.old;
    input.dirty = entry.dirty;
    if (batch.was_inline && entry.block == 0)
      input.inline_bytes = std::as_bytes(std::span(batch.inline_body));
    // Other blocks of the file may come later: a short tail is cut where its own bytes end.
    const uint64_t begin = entry.block * kBlockSize;
    input.end = static_cast<uint32_t>(std::min<uint64_t>(kBlockSize, batch.size - begin));
    blocks.push_back({NameOfBlock(state.ino, entry.block), std::move(input)});
  }
  PRISM_ASSIGN(std::vector<ComposedBlock> made, ComposeBlocks(store_, blocks));
  for (size_t i = 0; i < entries.size(); ++i) entries[i].made = std::move(made[i]);
  return {};
}

Status FileData::CommitBatch(FileState& state, Batch& batch) {
  auto transaction = map_.Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, state.ino));
  int64_t used = 0;
  if (batch.was_inline) used -= static_cast<int64_t>(batch.old_inline_bytes);
  const cow::Key inline_key = MakeKey(ItemType::kInlineData, state.ino);
  const bool has_body = batch.stays_inline && !AllZero(batch.inline_body);
  if (has_body) {
    used += static_cast<int64_t>(batch.inline_body.size());
    record.flags |= kHasInlineData;
    transaction->Put(inline_key, std::move(batch.inline_body));
  } else if (batch.was_inline) {
    record.flags &= ~uint32_t{kHasInlineData};
    transaction->Erase(inline_key);
  }
  for (auto& entry : batch.entries) {
    if (batch.stays_inline || entry.made.pieces == entry.old) continue;
    used += static_cast<int64_t>(UsedBytes(entry.made.pieces)) -
            static_cast<int64_t>(UsedBytes(entry.old));
    const cow::Key key = MakeKey(ItemType::kExtent, state.ino, entry.block);
    if (entry.made.pieces.empty()) {
      transaction->Erase(key);
    } else {
      transaction->Put(key, cow::EncodeExtent(entry.made.pieces));
    }
  }
  record.stored_size = batch.stored_size;
  record.stored_used += static_cast<uint64_t>(used);
  StoreInode(*transaction, record);
  transaction->AddUsage(0, used);
  // Charged and reserved at once, it would count twice for who looks in between.
  const uint64_t reserved = state.reserved;
  files_.KeepReserved(
      state, reserved - std::min(reserved, static_cast<uint64_t>(std::max<int64_t>(used, 0))));
  const auto committed = transaction->Commit();
  if (committed) return {};
  (void)files_.Reserve(state, reserved - state.reserved, UINT64_MAX);
  return Fail(committed.error());
}

void FileData::FinishBatch(FileState& state, bool saved) {
  std::unique_lock data_lock(state.data_lock);
  if (state.dead) return;
  const int64_t before =
      static_cast<int64_t>(MemoryBytes(state.active) + MemoryBytes(state.flushing));
  if (saved) {
    const uint64_t bytes = ValidBytes(state.flushing);
    state.flushing.clear();
    FreeReserved(state);
    if (state.active.empty()) files_.ExpectUsed(state, 0);
    std::lock_guard attr_lock(state.attr_lock);
    state.unsaved_bytes -= std::min(state.unsaved_bytes, bytes);
    if (state.active.empty()) {
      state.has_size = false;
      state.unsaved_bytes = 0;
    }
  } else {
    for (auto& [number, block] : state.flushing) {
      auto& newer = state.active[number];
      if (newer == nullptr) {
        newer = std::move(block);
      } else {
        newer->PutUnder(*block);
      }
    }
    state.flushing.clear();
    CountFull(state);
  }
  files_.Charge(state, static_cast<int64_t>(MemoryBytes(state.active)) - before);
}

void FileData::RemoveIfClean(FileState& state) {
  if (!state.active.empty() || !state.flushing.empty() || state.dead) return;
  {
    std::lock_guard attr_lock(state.attr_lock);
    if (state.has_size) return;
  }
  files_.Remove(state);
}

Status FileData::FlushAll(std::chrono::steady_clock::time_point time) {
  Status first;
  for (const StatePtr& state : files_.DirtyBefore(time)) {
    std::lock_guard flush_lock(state->flush_lock);
    Status flushed = FlushLocked(*state);
    if (flushed || !first) continue;
    spdlog::error("volume {}, inode {}: its data cannot be saved: {}", volume_, state->ino,
                  NameOf(flushed.error()));
    first = flushed;
  }
  Status times = FlushTimes();
  return first ? times : first;
}

Status FileData::FlushTimes() {
  constexpr size_t kTimesPerStep = 256;
  while (!lazy_times_.empty()) {
    auto transaction = map_.Write();
    const auto some = lazy_times_.Some(kTimesPerStep);
    for (const auto& [ino, atime] : some) {
      auto record = LoadInode(*transaction, ino);
      if (!record || record->attr.atime >= atime) continue;
      record->attr.atime = atime;
      StoreInode(*transaction, *record);
    }
    PRISM_TRY(transaction->Commit());
    for (const auto& [ino, atime] : some) lazy_times_.Written(ino, atime);
  }
  return {};
}

void FileData::Discard(InodeId ino) {
  lazy_times_.Forget(ino);
  StatePtr state = files_.Find(ino);
  if (state == nullptr) return;
  std::lock_guard flush_lock(state->flush_lock);
  DiscardLocked(*state);
}

void FileData::DiscardLocked(FileState& state) {
  std::unique_lock data_lock(state.data_lock);
  state.active.clear();
  state.flushing.clear();
  files_.Remove(state);
}

void FileData::DiscardAll() {
  lazy_times_.Clear();
  for (const StatePtr& state : files_.DirtyBefore(std::chrono::steady_clock::time_point::max())) {
    std::lock_guard flush_lock(state->flush_lock);
    DiscardLocked(*state);
  }
}

}  // namespace prism::fs
