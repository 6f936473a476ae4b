// How often something may happen: a row of kBurst at once, and then one every kInterval.
#pragma once

#include <algorithm>
#include <chrono>

namespace prism::vrpc {

class RateLimit {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr int kBurst = 16;
  static constexpr std::chrono::milliseconds kInterval{125};

  // True: it may happen now, and is counted.
  bool Take(Time now) {
    if (now < next()) return false;
    used_until_ = std::max(used_until_, now) + kInterval;
    return true;
  }
  // When it may happen again.
  Time next() const { return used_until_ - (kBurst - 1) * kInterval; }

 private:
  Time used_until_{};
};

}  // namespace prism::vrpc
