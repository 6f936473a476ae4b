// Log lines that a peer can cause, at a bounded rate.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

namespace prism {

// A few at once, then one every interval. THREADS: any.
class LogLimit {
 public:
  // Whether to log now; then how many lines have been left out since the last one.
  std::optional<uint64_t> Allow(uint64_t now_ns) {
    std::lock_guard lock(mutex_);
    const uint64_t earned = (now_ns - counted_ns_) / kIntervalNs;
    if (earned > 0) {
      tokens_ = earned > kBurst - tokens_ ? kBurst : tokens_ + earned;
      counted_ns_ += earned * kIntervalNs;
    }
    if (tokens_ == 0) {
      ++left_out_;
      return std::nullopt;
    }
    --tokens_;
    const uint64_t left_out = left_out_;
    left_out_ = 0;
    return left_out;
  }

 private:
  static constexpr uint64_t kBurst = 10;
  static constexpr uint64_t kIntervalNs = 6'000'000'000;  // ten lines a minute

  std::mutex mutex_;
  uint64_t tokens_ = kBurst;
  uint64_t counted_ns_ = 0;
  uint64_t left_out_ = 0;
};

}  // namespace prism
