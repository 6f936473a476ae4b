#include "vrpc/unsynced_writes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

namespace prism::vrpc {

void UnsyncedWrites::Add(InodeId ino, uint64_t offset, std::span<const std::byte> data) {
  Write write{.ino = ino,
              .offset = offset,
              .data = std::string(reinterpret_cast<const char*>(data.data()), data.size())};
  std::lock_guard lock(mutex_);
  write.number = next_++;
  bytes_ += write.data.size();
  writes_.push_back(std::move(write));
}

uint64_t UnsyncedWrites::Mark() const {
  std::lock_guard lock(mutex_);
  return next_;
}

void UnsyncedWrites::Forget(InodeId ino, uint64_t mark) {
  std::lock_guard lock(mutex_);
  std::erase_if(writes_, [&](const Write& write) {
    const bool goes = write.number < mark && (ino == 0 || write.ino == ino);
    if (goes) bytes_ -= write.data.size();
    return goes;
  });
}

void UnsyncedWrites::Cut(InodeId ino, uint64_t size) {
  std::lock_guard lock(mutex_);
  std::erase_if(writes_, [&](Write& write) {
    if (write.ino != ino || write.offset + write.data.size() <= size) return false;
    const size_t kept = size > write.offset ? static_cast<size_t>(size - write.offset) : 0;
    bytes_ -= write.data.size() - kept;
    write.data.resize(kept);
    return kept == 0;
  });
}

bool UnsyncedWrites::Has(InodeId ino) const {
  std::lock_guard lock(mutex_);
  return std::any_of(writes_.begin(), writes_.end(),
                     [&](const Write& write) { return write.ino == ino; });
}

size_t UnsyncedWrites::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

// Nobody cuts or forgets meanwhile: the calls that would are waiting for the server, as we are.
Status UnsyncedWrites::Replay(fs::FileSystem& file_system) {
  std::lock_guard lock(mutex_);
  for (const Write& write : writes_) {
    auto written = file_system.Write(
        fs::Caller{}, {.ino = write.ino,
                       .offset = write.offset,
                       .data = std::as_bytes(std::span(write.data.data(), write.data.size()))});
    if (written || written.error() == Err::kStale) continue;
    if (written.error() == Err::kDisconnected) return Fail(Err::kDisconnected);
    spdlog::error(
        "inode {}: {} bytes at {} were lost with the server and cannot be written again: {}",
        write.ino, write.data.size(), write.offset, NameOf(written.error()));
    failed_.insert(write.ino);
    any_failed_ = true;
  }
  return {};
}

bool UnsyncedWrites::TakeFailure(InodeId ino) {
  std::lock_guard lock(mutex_);
  return ino != 0 ? failed_.erase(ino) > 0 : std::exchange(any_failed_, false);
}

}  // namespace prism::vrpc
