#include <algorithm>

#include "fs/core/file_data.h"

namespace prism::fs {
namespace {

using cow::kBlockSize;

}  // namespace

void FileData::DropActive(FileState& state) {
  uint64_t memory = 0;
  for (const auto& [number, block] : state.active) memory += block->MemoryBytes();
  state.active.clear();
  files_.Charge(state, -static_cast<int64_t>(memory));
}

Status FileData::MakeRoom(size_t bytes) {
  // What has been acknowledged must find room too, so it counts as taken.
  if (store_.FreeBytes() < budget_.bytes() + bytes) return Fail(Err::kNoSpace);
  return {};
}

void FileData::CopyIn(FileState& state, uint64_t offset, std::span<const std::byte> data,
                      bool& ragged) {
  int64_t charge = 0;
  while (!data.empty()) {
    const uint32_t within = static_cast<uint32_t>(offset % kBlockSize);
    const size_t length = std::min<size_t>(data.size(), kBlockSize - within);
    auto& block = state.active[offset / kBlockSize];
    bool was_full = false;
    if (block == nullptr) {
      block = std::make_unique<DirtyBlock>();
    } else {
      charge -= static_cast<int64_t>(block->MemoryBytes());
      was_full = block->IsFull();
    }
    block->Write(within, data.first(length));
    state.full_blocks += !was_full && block->IsFull();
    charge += static_cast<int64_t>(block->MemoryBytes());
    ragged |= block->ranges().size() > kRangesMax;
    data = data.subspan(length);
    offset += length;
  }
  files_.Charge(state, charge);
}

Result<Change> FileData::NoteWritten(FileState& state, uint64_t end, uint64_t added) {
  auto view = map_.Read();
  PRISM_ASSIGN(InodeRecord record, Load(*view, state.ino));
  Change change;
  change.before = record.attr;
  const Timespec now = Now();
  {
    std::lock_guard lock(state.attr_lock);
    state.change = change.before.change + 1;
    state.mtime = state.ctime = now;
    if (end > change.before.size) {
      state.has_size = true;
      state.size = end;
    }
    state.unsaved_bytes += added;
  }
  state.Overlay(record);
  files_.ExpectUsed(state, record.attr.used_bytes - record.stored_used);
  change.after = record.attr;
  return change;
}

Result<WriteResult> FileData::Write(InodeId ino, uint64_t offset, Append append,
                                    std::span<const std::byte> data, Check check) {
  auto written = TryWrite(ino, offset, append, data, check);
  // What is unsaved has been counted as if nothing of it could be compressed or shared.
  if (!written && written.error() == Err::kQuota && files_.reserved() > 0) {
    PRISM_TRY(FlushAll(std::chrono::steady_clock::time_point::max()));
    written = TryWrite(ino, offset, append, data, check);
  }
  return written;
}

Result<WriteResult> FileData::TryWrite(InodeId ino, uint64_t offset, Append append,
                                       std::span<const std::byte> data, Check check) {
  if (budget_.Exceeded()) {
    PRISM_TRY(Flush(ino));
    if (budget_.Exceeded()) PRISM_TRY(FlushAll(std::chrono::steady_clock::time_point::max()));
  }
  PRISM_TRY(MakeRoom(data.size()));
  WriteResult result;
  bool ragged = false;
  size_t full_blocks = 0;
  StatePtr state;
  {
    DataBarrier::Pass pass(barrier_);
    if (map_.read_only()) return Fail(Err::kReadOnly);  // sealed while this waited
    InodeRecord record;
    bool has_quota = false;
    {
      auto view = map_.Read();
      PRISM_ASSIGN(record, Load(*view, ino));
      PRISM_TRY(check(*view, record));
      result.change = Change{record.attr, record.attr};
      has_quota = view->Usage().quota.bytes != 0;
    }
    result.offset = append == Append::kNo ? offset : record.attr.size;
    if (append == Append::kAt && result.offset != offset) return Fail(Err::kAgain);
    if (data.empty()) return result;
    std::unique_lock<std::shared_mutex> data_lock;
    for (;;) {
      state = files_.FindOrMake(ino);
      data_lock = std::unique_lock(state->data_lock);
      if (!state->dead) break;
      data_lock.unlock();  // before the last reference to the dead state goes
    }
    if (append != Append::kNo) {
      // Only here, under the lock that every change of size takes, is the end known.
      auto view = map_.Read();
      PRISM_ASSIGN(record, Load(*view, ino));
      if (append == Append::kAt && record.attr.size != offset) return Fail(Err::kAgain);
      offset = record.attr.size;
    }
    result.offset = offset;
    if (!FitsInFile(offset, data.size())) return Fail(Err::kTooLarge);
    if (has_quota) PRISM_TRY(Reserve(*state, offset, data.size()));
    if (state->active.empty()) state->dirty_since = std::chrono::steady_clock::now();
    CopyIn(*state, offset, data, ragged);
    auto change = NoteWritten(*state, offset + data.size(), data.size());
    if (!change) {
      // Gone meanwhile: the bytes belong to no file. The next flush removes the state.
      if (change.error() == Err::kStale) DropActive(*state);
      return Fail(change.error());
    }
    result.change = *change;
    result.length = static_cast<uint32_t>(data.size());
    full_blocks = state->full_blocks;
  }
  if (ragged) PRISM_TRY(Flush(ino));
  if (full_blocks >= kEarlyBlocks) FlushEarly(state, full_blocks >= kEarlyBlocks * kEarlyFactor);
  return result;
}

// Whoever waits for a flush then finds little left to do, and what waits in memory stays little. A
// failure is none of the write's: the data waits on, and the next flush reports it.
void FileData::FlushEarly(const StatePtr& state, bool wait) {
  if (flusher_ == nullptr) return;
  if (state->flushing_early.exchange(true)) {
    if (!wait) return;
    std::lock_guard flush_lock(state->flush_lock);
    (void)FlushFull(*state);
    return;
  }
  auto flush = [this, state, pass = std::make_shared<DataBarrier::Pass>(early_)] {
    std::lock_guard flush_lock(state->flush_lock);
    (void)FlushFull(*state);
    state->flushing_early = false;
  };
  if (!flusher_->TryRun(flush)) flush();
}

}  // namespace prism::fs
