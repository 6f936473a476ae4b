// What a transfer has done so far, shown while it runs and reported when it ends.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

namespace prism::tool {

struct TransferReport {
  uint64_t files = 0;  // regular files
  uint64_t directories = 0;
  uint64_t others = 0;      // symlinks, devices, FIFOs, sockets
  uint64_t hard_links = 0;  // further names of what is counted above
  uint64_t bytes = 0;       // file data copied; holes are not counted
  uint64_t warnings = 0;
  double seconds = 0;
};

// THREADS: all members from any thread; Finish once.
class Progress {
 public:
  enum class Style {
    kSilent,
    kLines,  // one line every few seconds
    kBar,    // a terminal: one line that is redrawn
  };

  // Shows on stderr, so that stdout stays free for results.
  Progress(Style style, std::string label);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void AddFile(uint64_t bytes) {
    files_.fetch_add(1, std::memory_order_relaxed);
    bytes_.fetch_add(bytes, std::memory_order_relaxed);
  }
  void AddBytes(uint64_t bytes) { bytes_.fetch_add(bytes, std::memory_order_relaxed); }
  void AddDirectory() { directories_.fetch_add(1, std::memory_order_relaxed); }
  void AddOther() { others_.fetch_add(1, std::memory_order_relaxed); }
  void AddHardLink() { hard_links_.fetch_add(1, std::memory_order_relaxed); }

  // How much of the whole is done, 0..1, as far as anyone can tell.
  void SetFraction(double fraction) { fraction_.store(fraction, std::memory_order_relaxed); }

  // Something could not be kept or was not as expected: shown (the first few), counted.
  void Warn(const std::string& message);
  // Worth knowing, nothing is lost: shown, not counted.
  void Note(const std::string& message);

  // Ends the display and sums up.
  TransferReport Finish();

 private:
  void Run();
  void Draw();
  void Say(const std::string& message);
  void StopThread();

  const Style style_;
  const std::string label_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  std::atomic<uint64_t> files_{0}, directories_{0}, others_{0}, hard_links_{0}, bytes_{0};
  std::atomic<uint64_t> warnings_{0};
  std::atomic<double> fraction_{0};

  std::mutex mutex_;  // guards what follows, and the terminal's line
  std::condition_variable wake_;
  bool stop_ = false;
  bool drawn_ = false;
  double shown_fraction_ = 0;
  std::thread thread_;
};

}  // namespace prism::tool
