#include "tests/bench/measure.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace prism::bench {
namespace {

uint64_t ReadClock(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

uint64_t NowNs() { return ReadClock(CLOCK_MONOTONIC); }
uint64_t ThreadCpuNs() { return ReadClock(CLOCK_THREAD_CPUTIME_ID); }
uint64_t ProcessCpuNs() { return ReadClock(CLOCK_PROCESS_CPUTIME_ID); }

uint64_t WrittenBytes() {
  std::ifstream in("/proc/self/io");
  std::string name;
  uint64_t value = 0;
  while (in >> name >> value)
    if (name == "wchar:") return value;
  return 0;
}

void Stopwatch::Restart() {
  process_ns_ = ProcessCpuNs();
  thread_ns_ = ThreadCpuNs();
  wall_ns_ = NowNs();
}

double Series::Percentile(double percent) const {
  if (values_.empty()) return 0;
  std::vector<double> sorted = values_;
  std::sort(sorted.begin(), sorted.end());
  double rank = std::ceil(percent / 100 * static_cast<double>(sorted.size())) - 1;
  return sorted[static_cast<size_t>(std::max(rank, 0.0))];
}

double MedianRatio(const Series& a, const Series& b) {
  Series ratios;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    if (b.values()[i] > 0) ratios.Add(a.values()[i] / b.values()[i]);
  return ratios.Median();
}

std::string Figure(double value) {
  if (value >= 1000) {
    std::string digits = fmt::format("{:.0f}", value);
    for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
    return digits;
  }
  if (value >= 100) return fmt::format("{:.0f}", value);
  return value >= 10 ? fmt::format("{:.1f}", value) : fmt::format("{:.2f}", value);
}

void PrintHeading(std::string_view text) { fmt::print("\n### {}\n\n", text); }
void PrintText(std::string_view text) { fmt::print("{}\n", text); }

void PrintRow(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const std::string& cell : cells) line += fmt::format(" {} |", cell);
  fmt::print("{}\n", line);
  std::fflush(stdout);
}

void PrintTableHead(const std::vector<std::string>& cells) {
  PrintRow(cells);
  PrintRow(std::vector<std::string>(cells.size(), "---"));
}

void Progress(std::string_view text) { fmt::print(stderr, "  {}\n", text); }

void Random::Fill(void* out, size_t length) {
  char* bytes = static_cast<char*>(out);
  for (size_t at = 0; at < length; at += sizeof(uint64_t)) {
    uint64_t word = Next();
    std::memcpy(bytes + at, &word, std::min(sizeof word, length - at));
  }
}

void Die(std::string_view what) {
  fmt::print(stderr, "benchmark failed: {}\n", what);
  std::exit(1);
}

}  // namespace prism::bench
