// For what takes a while to come true.
#pragma once

#include <chrono>
#include <functional>
#include <thread>

namespace prism::test {

// False: it has not, in ten seconds.
inline bool Eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 1000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return false;
}

}  // namespace prism::test
