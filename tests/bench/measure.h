// Clocks, series of samples and Markdown tables, shared by the benchmarks.
//
// A benchmark prints one Markdown section on standard output (tools/bench joins them) and progress
// on standard error. Figures are medians: one slow or one lucky run must not move them.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace prism::bench {

uint64_t NowNs();         // monotonic
uint64_t ThreadCpuNs();   // user + system of the calling thread
uint64_t ProcessCpuNs();  // of all threads, background work included
// Bytes this process has given to write calls (wchar of /proc/self/io): journal, segments, RocksDB.
uint64_t WrittenBytes();

// Wall and CPU time between construction (or the last Restart) and now.
class Stopwatch {
 public:
  Stopwatch() { Restart(); }
  void Restart();
  double WallUs() const { return static_cast<double>(NowNs() - wall_ns_) / 1e3; }
  double ThreadUs() const { return static_cast<double>(ThreadCpuNs() - thread_ns_) / 1e3; }
  double ProcessUs() const { return static_cast<double>(ProcessCpuNs() - process_ns_) / 1e3; }

 private:
  uint64_t wall_ns_ = 0;
  uint64_t thread_ns_ = 0;
  uint64_t process_ns_ = 0;
};

class Series {
 public:
  void Add(double value) { values_.push_back(value); }
  // Nearest rank; 0 of an empty series.
  double Percentile(double percent) const;
  double Median() const { return Percentile(50); }
  size_t size() const { return values_.size(); }
  const std::vector<double>& values() const { return values_; }

 private:
  std::vector<double> values_;
};

// Median of the pairwise quotients of two series measured in turn: steady when the machine drifts.
double MedianRatio(const Series& a, const Series& b);

// "0.43", "12.3", "1,234": three significant digits are all that a noisy machine gives.
std::string Figure(double value);

void PrintHeading(std::string_view text);
void PrintText(std::string_view text);
void PrintTableHead(const std::vector<std::string>& cells);
void PrintRow(const std::vector<std::string>& cells);
void Progress(std::string_view text);

// A small deterministic generator: the same work in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 2654435761u + 88172645463325252u) {}
  uint64_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  uint64_t Below(uint64_t bound) { return Next() % bound; }
  void Fill(void* out, size_t length);

 private:
  uint64_t state_;
};

[[noreturn]] void Die(std::string_view what);

// The value of an Outcome or Result, or the end of the benchmark with its message.
template <typename T>
decltype(auto) Must(T&& result, std::string_view what) {
  if (!result) {
    if constexpr (requires { result.error().message; }) {
      Die(std::string(what) + ": " + result.error().message);
    } else {
      Die(std::string(what) + ": error " + std::to_string(static_cast<int>(result.error())));
    }
  }
  if constexpr (requires { *result; }) return std::move(*result);
}

}  // namespace prism::bench
