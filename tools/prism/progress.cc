#include "tools/prism/progress.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <csignal>
#include <cstdio>

#include "tools/prism/format.h"

namespace prism::tool {
namespace {

constexpr uint64_t kWarningsShown = 20;
constexpr auto kBarInterval = std::chrono::milliseconds(100);
constexpr auto kLineInterval = std::chrono::seconds(5);
constexpr int kBarWidth = 24;

std::string Bar(double fraction) {
  int filled = std::clamp(static_cast<int>(fraction * kBarWidth + 0.5), 0, kBarWidth);
  return std::string(filled, '#') + std::string(kBarWidth - filled, '.');
}

}  // namespace

Progress::Progress(Style style, std::string label) : style_(style), label_(std::move(label)) {
  if (style_ != Style::kSilent) thread_ = std::thread([this] { Run(); });
}

Progress::~Progress() { StopThread(); }

void Progress::StopThread() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Progress::Run() {
  std::unique_lock lock(mutex_);
  const auto interval =
      style_ == Style::kBar ? std::chrono::milliseconds(kBarInterval) : kLineInterval;
  while (!wake_.wait_for(lock, interval, [this] { return stop_; })) Draw();
  if (style_ == Style::kBar && drawn_) std::fputs("\r\033[K", stderr);
}

void Progress::Draw() {
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const uint64_t files = files_ + others_ + directories_;
  const uint64_t bytes = bytes_;
  shown_fraction_ = std::max(shown_fraction_, std::min(1.0, fraction_.load()));
  std::string text = fmt::format("{} files, {}, {} files/s, {}/s, {}", Count(files), Bytes(bytes),
                                 Count(static_cast<uint64_t>(files / seconds)),
                                 Bytes(static_cast<uint64_t>(bytes / seconds)), Seconds(seconds));
  if (style_ == Style::kBar) {
    fmt::print(stderr, "\r\033[K{} [{}] {:3.0f}%  {}", label_, Bar(shown_fraction_),
               shown_fraction_ * 100, text);
  } else {
    fmt::print(stderr, "{}: {}\n", label_, text);
  }
  std::fflush(stderr);
  drawn_ = true;
}

void Progress::Say(const std::string& message) {
  std::lock_guard lock(mutex_);
  if (style_ == Style::kBar && drawn_) std::fputs("\r\033[K", stderr);
  fmt::print(stderr, "prism: {}\n", message);
}

void Progress::Warn(const std::string& message) {
  const uint64_t number = ++warnings_;
  if (number <= kWarningsShown) Say("warning: " + message);
  if (number == kWarningsShown) Say("warning: further warnings are counted, not shown");
}

void Progress::Note(const std::string& message) { Say("note: " + message); }

TransferReport Progress::Finish() {
  StopThread();
  TransferReport report;
  report.files = files_;
  report.directories = directories_;
  report.others = others_;
  report.hard_links = hard_links_;
  report.bytes = bytes_;
  report.warnings = warnings_;
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  return report;
}

}  // namespace prism::tool
