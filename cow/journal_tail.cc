#include "cow/journal_tail.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>

#include "fs/base/bytes.h"

namespace prism::cow {
namespace {

constexpr uint64_t kMagic = 0x314c54544d535250;  // "PRSMTTL1"
constexpr size_t kAreas = 2;
constexpr size_t kRecordHeaderBytes = 20;  // length u32, lsn u64, checksum u64
constexpr size_t kLengthAndLsn = 12;

uint64_t Checksum(const std::byte* header, std::string_view payload, uint64_t seed) {
  return XXH3_64bits_withSeed(payload.data(), payload.size(),
                              XXH3_64bits_withSeed(header, kLengthAndLsn, seed));
}

}  // namespace

// At the start of each area.
struct JournalTail::Area {
  uint64_t magic;
  uint64_t seed;   // grows with every Switch: old records behind the end never verify
  uint64_t first;  // sequence number of the first record
  BootId boot;
  uint32_t zero;
};

JournalTail::Area* JournalTail::area(size_t index) const {
  static_assert(sizeof(Area) == 64);
  return reinterpret_cast<Area*>(base_ + index * kAreaBytes);
}

void JournalTail::Open(const std::string& path, bool read_only) {
  boot_ = ThisBoot();
  constexpr size_t kSizeBytes = kAreas * kAreaBytes;
  base_ = read_only ? memory_.OpenAsItIs(path, kSizeBytes) : memory_.Open(path, kSizeBytes);
  if (base_ == nullptr) return;
  for (size_t i = 0; i < kAreas; ++i)
    if (area(i)->magic == kMagic) seed_ = std::max(seed_, area(i)->seed);
}

Status JournalTail::Visit(Lsn last, FunctionRef<Status(Lsn, std::string_view)> visitor) const {
  if (base_ == nullptr) return {};
  std::array<size_t, kAreas> order = {0, 1};
  if (area(1)->seed < area(0)->seed) std::swap(order[0], order[1]);
  for (size_t index : order) {
    const Area& head = *area(index);
    if (head.magic != kMagic || head.boot != boot_) continue;
    const std::byte* bytes = base_ + index * kAreaBytes;
    Lsn expected = head.first;
    for (size_t at = sizeof(Area); kAreaBytes - at >= kRecordHeaderBytes; ++expected) {
      ByteReader reader({reinterpret_cast<const char*>(bytes) + at, kRecordHeaderBytes});
      const uint32_t length = reader.Get<uint32_t>();
      const Lsn lsn = reader.Get<uint64_t>();
      const uint64_t checksum = reader.Get<uint64_t>();
      if (lsn != expected || length > kAreaBytes - at - kRecordHeaderBytes) break;
      std::string_view payload(reinterpret_cast<const char*>(bytes) + at + kRecordHeaderBytes,
                               length);
      if (Checksum(bytes + at, payload, head.seed) != checksum) break;
      at += kRecordHeaderBytes + length;
      if (lsn <= last) continue;
      if (lsn != last + 1) return {};  // the one between found no room
      PRISM_TRY(visitor(lsn, payload));
      last = lsn;
    }
  }
  return {};
}

void JournalTail::Start(Lsn first) {
  if (base_ == nullptr) return;
  for (size_t i = 0; i < kAreas; ++i) area(i)->magic = 0;
  overflown_ = false;
  Switch(first);
}

void JournalTail::Switch(Lsn first) {
  if (base_ == nullptr) return;
  current_ = (current_ + 1) % kAreas;
  Area* head = area(current_);
  head->magic = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  head->seed = ++seed_;
  head->first = first;
  head->boot = boot_;
  head->zero = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  head->magic = kMagic;
  offset_ = sizeof(Area);
  overflown_ = false;
}

void JournalTail::Append(Lsn lsn, std::string_view payload) {
  if (overflown_) return;
  if (payload.size() + kRecordHeaderBytes > kAreaBytes - offset_) {
    overflown_ = true;
    return;
  }
  std::byte* at = base_ + current_ * kAreaBytes + offset_;
  const uint32_t length = static_cast<uint32_t>(payload.size());
  std::memcpy(at, &length, sizeof length);
  std::memcpy(at + sizeof length, &lsn, sizeof lsn);
  std::memcpy(at + kRecordHeaderBytes, payload.data(), payload.size());
  const uint64_t checksum = Checksum(at, payload, seed_);
  std::memcpy(at + kLengthAndLsn, &checksum, sizeof checksum);
  offset_ += kRecordHeaderBytes + payload.size();
}

}  // namespace prism::cow
