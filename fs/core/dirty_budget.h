// How much file data may wait in memory for the store, over all volumes.
#pragma once

#include <atomic>
#include <cstdint>

namespace prism::fs {

// Counts; does not block. A writer that finds it exceeded flushes before it adds more.
// THREADS: any.
class DirtyBudget {
 public:
  explicit DirtyBudget(uint64_t bytes_max) : bytes_max_(bytes_max) {}
  DirtyBudget(const DirtyBudget&) = delete;
  DirtyBudget& operator=(const DirtyBudget&) = delete;

  void Charge(uint64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void Refund(uint64_t bytes) { bytes_.fetch_sub(bytes, std::memory_order_relaxed); }
  uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
  uint64_t bytes_max() const { return bytes_max_; }
  bool Exceeded() const { return bytes() >= bytes_max_; }

 private:
  const uint64_t bytes_max_;
  std::atomic<uint64_t> bytes_{0};
};

}  // namespace prism::fs
