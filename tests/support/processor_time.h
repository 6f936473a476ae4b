// How much work a process has done.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <chrono>
#include <ctime>

namespace prism {

// Of all its threads, since it began.
inline std::chrono::nanoseconds ProcessorTime(pid_t pid) {
  clockid_t clock = 0;
  timespec time{};
  EXPECT_EQ(::clock_getcpuclockid(pid, &clock), 0);
  EXPECT_EQ(::clock_gettime(clock, &time), 0);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

}  // namespace prism
