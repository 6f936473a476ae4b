// Whether the calls of one procedure take long: they wait for the medium, or move much.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>

namespace prism::rpc {

// THREADS: any; what they lose to races is a sample.
class Pace {
 public:
  explicit Pace(bool slow) : recent_ns_(slow ? kMostNs : 0) {}

  // One that did is remembered for some 20 that did not: to wait for one that was thought to be
  // short costs others more than to leave a seat for nothing.
  bool slow() const { return recent_ns_.load(std::memory_order_relaxed) > kSlowNs; }
  void Learn(uint64_t took_ns) {
    const uint64_t recent_ns = recent_ns_.load(std::memory_order_relaxed);
    const uint64_t now_ns = std::max(std::min(took_ns, kMostNs), recent_ns - recent_ns / 16);
    if (now_ns != recent_ns) recent_ns_.store(now_ns, std::memory_order_relaxed);
  }

  static uint64_t NowNs() {
    return static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                     std::chrono::steady_clock::now().time_since_epoch())
                                     .count());
  }

 private:
  static constexpr uint64_t kSlowNs = 50'000;  // what handing over to another worker may cost
  static constexpr uint64_t kMostNs = 4 * kSlowNs;
  std::atomic<uint64_t> recent_ns_;
};

}  // namespace prism::rpc
