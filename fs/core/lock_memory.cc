#include "fs/core/lock_memory.h"

#include <spdlog/spdlog.h>

#include <cstring>

namespace prism::fs {
namespace {

constexpr uint64_t kMagic = 0x314b434c4d535250;  // "PRSMLCK1"

}  // namespace

struct LockMemory::Header {
  uint64_t magic;
  cow::BootId boot;
  uint8_t zeros[20];
};

void LockMemory::Open(const std::string& path, bool grace) {
  static_assert(sizeof(Header) == 64 && sizeof(Slot) == 16);
  std::lock_guard lock(mutex_);
  std::byte* base = memory_.Open(path, sizeof(Header) + kSlots * sizeof(Slot));
  if (base == nullptr) return;
  auto* header = reinterpret_cast<Header*>(base);
  auto* slots = reinterpret_cast<Slot*>(base + sizeof(Header));
  const cow::BootId boot = cow::ThisBoot();
  const bool known = grace && header->magic == kMagic && header->boot == boot;
  if (!known) std::memset(base, 0, sizeof(Header) + kSlots * sizeof(Slot));
  header->boot = boot;
  header->magic = kMagic;
  for (size_t i = kSlots; i-- > 0;) {
    Slot& slot = slots[i];
    if (slot.clients == 0 || volumes_.contains(slot.volume)) {
      slot = {};
      free_.push_back(&slot);
      continue;
    }
    volumes_[slot.volume] = {.awaited = slot.clients, .slot = &slot};
    awaited_ += slot.clients;
  }
}

uint64_t LockMemory::Awaited(VolumeId volume) const {
  if (awaited_.load(std::memory_order_acquire) == 0) [[likely]]
    return 0;
  std::lock_guard lock(mutex_);
  auto found = volumes_.find(volume);
  return found == volumes_.end() ? 0 : found->second.awaited;
}

uint64_t LockMemory::Returned(VolumeId volume) {
  std::lock_guard lock(mutex_);
  auto found = volumes_.find(volume);
  if (found == volumes_.end() || found->second.awaited == 0) return 0;
  const uint64_t left = --found->second.awaited;
  --awaited_;
  Store(volume, found->second);
  return left;
}

void LockMemory::GiveUp() {
  std::lock_guard lock(mutex_);
  for (auto at = volumes_.begin(); at != volumes_.end();) {
    auto& [id, volume] = *at++;  // which Store may erase
    volume.awaited = 0;
    Store(id, volume);
  }
  awaited_ = 0;
}

void LockMemory::SetHolders(VolumeId volume, uint64_t clients) {
  std::lock_guard lock(mutex_);
  Volume& known = volumes_[volume];
  known.holders = clients;
  Store(volume, known);
}

void LockMemory::Keep() {
  std::lock_guard lock(mutex_);
  keeps_ = true;
}

void LockMemory::Store(VolumeId id, Volume& volume) {
  if (keeps_) return;
  const uint64_t clients = volume.awaited + volume.holders;
  if (volume.slot == nullptr && clients > 0 && !free_.empty()) {
    volume.slot = free_.back();
    free_.pop_back();
    volume.slot->volume = id;
  }
  if (volume.slot != nullptr) {
    volume.slot->clients = clients;
    if (clients == 0) free_.push_back(volume.slot);
  }
  if (clients == 0) volumes_.erase(id);
}

}  // namespace prism::fs
