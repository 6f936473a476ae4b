// Polling before sleeping, only while it pays.
//
// A wake-up costs 5 to 60 us, a polled round trip well under one; but a poller that takes the core
// its peer needs makes both slower. Hence: at most (cores - 1) threads of a gate poll at a time;
// each for a bounded time that its caller derives from what it has measured (SpinBudget); a poller
// that finds itself preempted closes the gate for a while; and whoever polls in vain, as happens
// when its peer waits for the same core, does so ever more rarely (Backoff).
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>

namespace prism::vrpc {

inline uint64_t NowNs() {
  return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                   std::chrono::steady_clock::now().time_since_epoch())
                                   .count());
}

inline void CpuPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield" ::: "memory");
#endif
}

enum class Spun : uint8_t {
  kFound,
  kMissed,  // polled in vain
  kDenied,  // did not poll
};

class SpinGate {
 public:
  SpinGate() : spinners_max_(static_cast<int>(std::thread::hardware_concurrency()) - 1) {}

  // Polls until there() or the budget has passed.
  template <typename Predicate>
  Spun Spin(uint64_t budget_ns, Predicate&& there) {
    if (budget_ns == 0) return Spun::kDenied;
    uint64_t start_ns = NowNs();
    if (start_ns < closed_until_ns_.load(std::memory_order_relaxed)) return Spun::kDenied;
    if (spinners_.fetch_add(1, std::memory_order_relaxed) >= spinners_max_) {
      spinners_.fetch_sub(1, std::memory_order_relaxed);
      return Spun::kDenied;
    }
    bool found = Poll(start_ns, budget_ns, there);
    spinners_.fetch_sub(1, std::memory_order_relaxed);
    return found ? Spun::kFound : Spun::kMissed;
  }

 private:
  static constexpr uint64_t kPreemptedNs = 200'000;  // nothing but another thread takes this long
  static constexpr uint64_t kClosedNs = 5'000'000;

  template <typename Predicate>
  bool Poll(uint64_t start_ns, uint64_t budget_ns, Predicate& there) {
    uint64_t last_ns = start_ns;
    for (;;) {
      for (int i = 0; i < 8; ++i) {
        if (there()) return true;
        CpuPause();
      }
      uint64_t now_ns = NowNs();
      if (now_ns - last_ns > kPreemptedNs) {
        closed_until_ns_.store(now_ns + kClosedNs, std::memory_order_relaxed);
        return there();
      }
      if (now_ns - start_ns > budget_ns) return there();
      last_ns = now_ns;
    }
  }

  const int spinners_max_;
  std::atomic<int> spinners_ = 0;
  std::atomic<uint64_t> closed_until_ns_ = 0;
};

// How long to poll for something whose recent times are known.
class SpinBudget {
 public:
  void Learn(uint64_t took_ns, uint64_t spin_max_ns) {
    uint64_t sample = std::min(took_ns, 4 * spin_max_ns);  // one pause does not spoil the average
    uint64_t old = average_ns_.load(std::memory_order_relaxed);
    average_ns_.store(old - old / 8 + sample / 8, std::memory_order_relaxed);
  }
  // 0 when it takes longer than polling may.
  uint64_t BudgetNs(uint64_t spin_max_ns) const {
    uint64_t average = average_ns_.load(std::memory_order_relaxed);
    if (average > spin_max_ns) return 0;
    return std::min(spin_max_ns, 2 * average + kSlackNs);
  }

 private:
  static constexpr uint64_t kSlackNs = 5'000;
  std::atomic<uint64_t> average_ns_ = 0;
};

// Rations tries that may be in vain: after a miss the next one is skipped, after another the next
// three, then seven, up to kSkipsMax. A hit allows the next try; but only a long row of hits makes
// the misses before them forgotten, so that lucky tries among vain ones change little. Threads may
// share one: what they lose to races is a try more or less.
class Backoff {
 public:
  bool Allow() {
    uint32_t skips = skips_.load(std::memory_order_relaxed);
    if (skips == 0) return true;
    skips_.store(skips - 1, std::memory_order_relaxed);
    return false;
  }
  void Hit() {
    if (length_.load(std::memory_order_relaxed) == 0) return;
    uint32_t hits = hits_.load(std::memory_order_relaxed) + 1;
    hits_.store(hits, std::memory_order_relaxed);
    if (hits >= kHitsToForget) length_.store(0, std::memory_order_relaxed);
  }
  void Miss() {
    uint32_t length = std::min(2 * length_.load(std::memory_order_relaxed) + 1, kSkipsMax);
    length_.store(length, std::memory_order_relaxed);
    skips_.store(length, std::memory_order_relaxed);
    hits_.store(0, std::memory_order_relaxed);
  }

 private:
  static constexpr uint32_t kSkipsMax = 511;
  static constexpr uint32_t kHitsToForget = 128;

  std::atomic<uint32_t> skips_ = 0;   // left
  std::atomic<uint32_t> length_ = 0;  // of the latest row of skips
  std::atomic<uint32_t> hits_ = 0;    // since the latest miss
};

}  // namespace prism::vrpc
