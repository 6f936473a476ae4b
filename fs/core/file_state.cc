#include "fs/core/file_state.h"

#include <algorithm>

#include "fs/base/check.h"
#include "fs/core/file_limits.h"

namespace prism::fs {
namespace {

// What used_bytes will become, nearly: holes within the unsaved bytes are not known yet.
uint64_t ExpectedUsed(const InodeRecord& record, uint64_t unsaved) {
  if (unsaved == 0) return record.stored_used;
  const uint64_t size = record.attr.size;
  const bool stays_inline =
      size <= kInlineMax && ((record.flags & kHasInlineData) != 0 || record.stored_used == 0);
  const uint64_t unit = stays_inline ? 1 : cow::kUnitSize;
  const uint64_t most = (size + unit - 1) / unit * unit;
  const uint64_t guess = record.stored_used + (unsaved + unit - 1) / unit * unit;
  return std::max(record.stored_used, std::min(most, guess));
}

}  // namespace

void FileState::Overlay(InodeRecord& record) const {
  std::lock_guard lock(attr_lock);
  Attr& attr = record.attr;
  if (has_size) attr.size = size;
  if (change > attr.change) {
    attr.change = change;
    attr.mtime = mtime;
    attr.ctime = ctime;
  }
  attr.used_bytes = ExpectedUsed(record, unsaved_bytes);
}

FileTable::~FileTable() { budget_.Refund(bytes()); }

std::shared_ptr<FileState> FileTable::Find(InodeId ino) const {
  if (count_.load(std::memory_order_acquire) == 0) return nullptr;
  const Shard& shard = shards_[ino % kShards];
  std::lock_guard lock(shard.mutex);
  auto found = shard.states.find(ino);
  return found == shard.states.end() ? nullptr : found->second;
}

std::shared_ptr<FileState> FileTable::FindOrMake(InodeId ino) {
  Shard& shard = shards_[ino % kShards];
  std::lock_guard lock(shard.mutex);
  auto& state = shard.states[ino];
  if (state == nullptr) {
    state = std::make_shared<FileState>(ino);
    state->charged = kStateBytes;
    bytes_.fetch_add(kStateBytes, std::memory_order_relaxed);
    budget_.Charge(kStateBytes);
    count_.fetch_add(1, std::memory_order_release);
  }
  return state;
}

void FileTable::Remove(FileState& state) {
  if (state.dead) return;
  state.dead = true;
  Charge(state, -static_cast<int64_t>(state.charged));
  ExpectUsed(state, 0);
  KeepReserved(state, 0);
  Shard& shard = shards_[state.ino % kShards];
  std::lock_guard lock(shard.mutex);
  PRISM_CHECK(shard.states.erase(state.ino) == 1);
  count_.fetch_sub(1, std::memory_order_release);
}

void FileTable::Overlay(InodeRecord& record) const {
  if (record.attr.type != FileType::kRegular) return;
  if (auto state = Find(record.attr.ino)) state->Overlay(record);
}

std::vector<std::shared_ptr<FileState>> FileTable::DirtyBefore(
    std::chrono::steady_clock::time_point time) {
  std::vector<std::shared_ptr<FileState>> some;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    for (auto& [ino, state] : shard.states)
      if (state->dirty_since.load(std::memory_order_relaxed) <= time) some.push_back(state);
  }
  return some;
}

void FileTable::ExpectUsed(FileState& state, uint64_t bytes) {
  std::lock_guard lock(state.attr_lock);
  expected_used_.fetch_add(bytes - state.expected_used, std::memory_order_relaxed);
  state.expected_used = bytes;
}

bool FileTable::Reserve(FileState& state, uint64_t bytes, uint64_t room) {
  uint64_t before = reserved_.load(std::memory_order_relaxed);
  do {
    if (bytes > room || before > room - bytes) return false;
  } while (!reserved_.compare_exchange_weak(before, before + bytes, std::memory_order_relaxed));
  std::lock_guard lock(state.attr_lock);
  state.reserved += bytes;
  return true;
}

void FileTable::KeepReserved(FileState& state, uint64_t bytes) {
  std::lock_guard lock(state.attr_lock);
  if (bytes >= state.reserved) return;
  reserved_.fetch_sub(state.reserved - bytes, std::memory_order_relaxed);
  state.reserved = bytes;
}

void FileTable::Charge(FileState& state, int64_t change) {
  if (change == 0) return;
  state.charged += static_cast<uint64_t>(change);  // modular: a negative change subtracts
  bytes_.fetch_add(static_cast<uint64_t>(change), std::memory_order_relaxed);
  if (change > 0) {
    budget_.Charge(static_cast<uint64_t>(change));
  } else {
    budget_.Refund(static_cast<uint64_t>(-change));
  }
}

}  // namespace prism::fs
