// For how many of its entries a directory's listing should leave out the attributes.
//
// The kernel asks for them (READDIRPLUS) at the start of every listing, without knowing whether
// anybody will look at them. They save a round trip for each entry that is looked at (`ls -l`), and
// cost some ten times the bare names where none is (`ls`, `find -name`, globs). A kernel that has
// been given attributes says nothing when they are used, but one that lacks them comes with a
// LOOKUP. So the first entries of a listing are bare, as a question. If they are looked up, a
// number of listings bring all attributes, before it is asked again; the number doubles while the
// answer stays the same. If they are not, listings are wholly bare until something of one is looked
// up.
//
// THREADS: any. What they lose to races is a listing of the other kind.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

#include "fs/base/types.h"

namespace prism::mount {

class ListingAdvice {
 public:
  using Clock = std::chrono::steady_clock;

  static constexpr uint32_t kAll = UINT32_MAX;
  static constexpr uint32_t kQuestion = 64;  // entries

  // A listing of `dir` begins: how many entries to leave bare.
  uint32_t Begin(InodeId dir, Clock::time_point now) {
    uint32_t left = left_.load(std::memory_order_relaxed);
    if (left > 0) {
      left_.store(left - 1, std::memory_order_relaxed);
      return 0;
    }
    bool unanswered = asked_.exchange(true, std::memory_order_relaxed);
    if (unanswered) run_.store(kRunMin, std::memory_order_relaxed);
    looked_up_.store(0, std::memory_order_relaxed);
    GoOn(dir, now);
    return unanswered ? kAll : kQuestion;
  }

  // Entries of `dir` are listed bare.
  void GoOn(InodeId dir, Clock::time_point now) {
    Slot& slot = SlotOf(dir);
    slot.listed_ms.store(InMs(now), std::memory_order_relaxed);
    slot.dir.store(dir, std::memory_order_relaxed);
  }

  // A name of `dir` was found.
  void LookedUp(InodeId dir) {
    Slot& slot = SlotOf(dir);
    if (slot.dir.load(std::memory_order_relaxed) != dir) return;
    if (InMs(Clock::now()) - slot.listed_ms.load(std::memory_order_relaxed) > kSoonMs) {
      slot.dir.store(0, std::memory_order_relaxed);
      return;
    }
    if (looked_up_.fetch_add(1, std::memory_order_relaxed) + 1 != kLookupsEnough) return;
    uint32_t run = run_.load(std::memory_order_relaxed);
    run_.store(std::min(2 * run, kRunMax), std::memory_order_relaxed);
    asked_.store(false, std::memory_order_relaxed);
    left_.store(run, std::memory_order_relaxed);
  }

 private:
  static constexpr size_t kSlots = 64;
  static constexpr int64_t kSoonMs = 200;  // later look-ups have another reason
  static constexpr uint32_t kLookupsEnough = 3;
  static constexpr uint32_t kRunMin = 16;  // listings
  static constexpr uint32_t kRunMax = 512;

  struct Slot {
    std::atomic<InodeId> dir{0};
    std::atomic<int64_t> listed_ms{0};
  };
  static int64_t InMs(Clock::time_point time) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count();
  }
  Slot& SlotOf(InodeId dir) { return slots_[dir % kSlots]; }

  std::array<Slot, kSlots> slots_;      // directories of bare entries
  std::atomic<uint32_t> left_{0};       // listings that bring attributes
  std::atomic<uint32_t> run_{kRunMin};  // how many the next answer makes it
  std::atomic<uint32_t> looked_up_{0};  // since the last listing with bare entries began
  std::atomic<bool> asked_{false};      // and not answered
};

}  // namespace prism::mount
