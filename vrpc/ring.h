// The two ends of a single-producer single-consumer ring in shared memory.
//
// Each end keeps its own index in private memory and only publishes it; the other's index is
// fetched once per look and checked: a peer that claims more entries than the ring has is kBroken,
// and nothing it wrote is believed. Entries are fetched by 64-bit loads into a private copy.
//
// SLEEPING (after Dekker): the consumer stores sleeps = 1, then looks at tail once more, and sleeps
// only if there is nothing; the producer stores tail, then looks at sleeps, and rings if it is set.
// All four accesses are sequentially consistent, so at least one sees the other's store.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "vrpc/layout.h"

namespace prism::vrpc {

static_assert(std::atomic_ref<uint32_t>::is_always_lock_free);
static_assert(std::atomic_ref<uint64_t>::is_always_lock_free);

inline std::atomic_ref<uint32_t> Shared(Word& word) {
  return std::atomic_ref<uint32_t>(word.value);
}

// Copies from memory that a peer may be changing into private memory, and keeps the compiler from
// going back to the source for what it then reads from the copy.
inline void FetchOnce(void* to, const void* from, size_t length) {
  if (length != 0) std::memcpy(to, from, length);
  asm volatile("" ::: "memory");
}

enum class Look : uint8_t { kNothing, kEntry, kBroken };

namespace internal {
template <typename Entry>
constexpr bool kIsEntry = std::is_trivially_copyable_v<Entry> && sizeof(Entry) % 8 == 0;

template <typename Entry>
void LoadEntry(uint64_t* from, Entry& to) {
  uint64_t words[sizeof(Entry) / 8];
  for (size_t i = 0; i < std::size(words); ++i)
    words[i] = std::atomic_ref<uint64_t>(from[i]).load(std::memory_order_relaxed);
  std::memcpy(&to, words, sizeof to);
}

template <typename Entry>
void StoreEntry(const Entry& from, uint64_t* to) {
  uint64_t words[sizeof(Entry) / 8];
  std::memcpy(words, &from, sizeof from);
  for (size_t i = 0; i < std::size(words); ++i)
    std::atomic_ref<uint64_t>(to[i]).store(words[i], std::memory_order_relaxed);
}
}  // namespace internal

// One thread at a time.
template <typename Entry>
class Producer {
  static_assert(internal::kIsEntry<Entry>);

 public:
  Producer() = default;
  // entries: a power of two; places: that many Entry. The ring is empty, its indices at `start`.
  Producer(RingControl* control, void* places, uint32_t entries, uint32_t start = 0)
      : control_(control),
        places_(static_cast<uint64_t*>(places)),
        entries_(entries),
        tail_(start) {}

  // kNothing: the ring is full. kEntry: done, and ConsumerSleeps says whether to ring.
  Look Push(const Entry& entry) {
    uint32_t used = tail_ - Shared(control_->head).load(std::memory_order_acquire);
    if (used > entries_) return Look::kBroken;
    if (used == entries_) return Look::kNothing;
    internal::StoreEntry(entry, Place(tail_));
    Shared(control_->tail).store(++tail_, std::memory_order_seq_cst);
    return Look::kEntry;
  }
  bool ConsumerSleeps() const {
    return Shared(control_->sleeps).load(std::memory_order_seq_cst) != 0;
  }

 private:
  uint64_t* Place(uint32_t index) const {
    return places_ + (index & (entries_ - 1)) * (sizeof(Entry) / 8);
  }

  RingControl* control_ = nullptr;
  uint64_t* places_ = nullptr;
  uint32_t entries_ = 0;
  uint32_t tail_ = 0;
};

// One thread at a time.
template <typename Entry>
class Consumer {
  static_assert(internal::kIsEntry<Entry>);

 public:
  Consumer() = default;
  Consumer(RingControl* control, void* places, uint32_t entries, uint32_t start = 0)
      : control_(control),
        places_(static_cast<uint64_t*>(places)),
        entries_(entries),
        head_(start) {}

  // Takes the next entry into private memory.
  Look Pop(Entry& entry) {
    Look look = Peek();
    if (look != Look::kEntry) return look;
    internal::LoadEntry(places_ + (head_ & (entries_ - 1)) * (sizeof(Entry) / 8), entry);
    Shared(control_->head).store(++head_, std::memory_order_release);
    return Look::kEntry;
  }
  Look Peek() const {
    uint32_t available = Shared(control_->tail).load(std::memory_order_acquire) - head_;
    if (available == 0) return Look::kNothing;
    return available <= entries_ ? Look::kEntry : Look::kBroken;
  }

  // Asks to be rung from now on. True: nothing has come, so sleeping is safe; false: something is
  // there (or the peer is broken), and the wish is withdrawn.
  bool PrepareSleep() {
    Shared(control_->sleeps).store(1, std::memory_order_seq_cst);
    if (Shared(control_->tail).load(std::memory_order_seq_cst) == head_) return true;
    Wake();
    return false;
  }
  void Wake() { Shared(control_->sleeps).store(0, std::memory_order_relaxed); }

 private:
  RingControl* control_ = nullptr;
  uint64_t* places_ = nullptr;
  uint32_t entries_ = 0;
  uint32_t head_ = 0;
};

}  // namespace prism::vrpc
