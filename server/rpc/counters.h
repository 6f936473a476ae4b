// The counters behind RpcStats.
#pragma once

#include <atomic>
#include <cstdint>

namespace prism::rpc {

class Counter {
 public:
  void Add(uint64_t value = 1) { value_.fetch_add(value, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_ = 0;
};

struct Counters {
  Counter connections_accepted;
  Counter connections_refused;
  Counter connections_broken;
  Counter connections_expired;
  Counter calls;
  Counter errors;
  Counter refused;
  Counter replays;
  Counter replays_dropped;
  Counter parked;
  Counter bytes_in;
  Counter bytes_out;
  Counter durable_replies;
  Counter durable_waits;
  Counter durable_failures;
};

}  // namespace prism::rpc
