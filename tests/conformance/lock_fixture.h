// Two clients of one volume, and a file to lock.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "tests/conformance/suite.h"

namespace prism::conformance {

using fs::Event;
using fs::LockArgs;
using fs::LockHolder;
using fs::LockKind;
using fs::LockType;

inline constexpr auto kShared = LockType::kShared;
inline constexpr auto kExclusive = LockType::kExclusive;
inline constexpr auto kUnlock = LockType::kUnlock;

// The granted requests of one client, in order.
class GrantRecorder : public fs::EventListener {
 public:
  void OnEvent(const Event& event) override {
    if (event.kind != Event::Kind::kLockGranted) return;
    std::lock_guard lock(mutex_);
    granted_.push_back(event);
    arrived_.notify_all();
  }
  bool Saw(uint64_t cookie, InodeId ino) {
    std::unique_lock lock(mutex_);
    return arrived_.wait_for(lock, std::chrono::seconds(5), [&] {
      for (const Event& event : granted_)
        if (event.cookie == cookie && event.ino == ino) return true;
      return false;
    });
  }
  std::vector<uint64_t> Cookies() {
    std::lock_guard lock(mutex_);
    std::vector<uint64_t> cookies;
    for (const Event& event : granted_) cookies.push_back(event.cookie);
    return cookies;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Event> granted_;
};

class LockTest : public Conformance {
 protected:
  LockTest() : other_(driver_->Attach(kVolume)), ino_(MakeFile(kRootInode, "f")) {
    fs_->SetListener(&mine_);
    other_->SetListener(&theirs_);
  }
  ~LockTest() override {
    fs_->SetListener(nullptr);
    if (other_ != nullptr) other_->SetListener(nullptr);
  }

  LockArgs Args(std::string_view owner, LockType type, uint64_t start = 0, uint64_t length = 0) {
    return {.ino = ino_, .type = type, .start = start, .length = length, .owner = owner, .pid = 77};
  }
  LockArgs Whole(LockKind kind, std::string_view owner, LockType type) {
    return {.ino = ino_, .kind = kind, .type = type, .owner = owner};
  }
  Err Set(std::string_view owner, LockType type, uint64_t start = 0, uint64_t length = 0) {
    return ErrOf(fs_->Lock(kKernel, Args(owner, type, start, length)));
  }
  Err Wait(FileSystem& fs, uint64_t cookie, LockArgs args) {
    args.wait = true;
    args.cookie = cookie;
    return ErrOf(fs.Lock(kKernel, args));
  }
  Err Wait(FileSystem& fs, uint64_t cookie, std::string_view owner, LockType type,
           uint64_t start = 0, uint64_t length = 0) {
    return Wait(fs, cookie, Args(owner, type, start, length));
  }
  std::optional<LockHolder> Holder(LockArgs args, FileSystem* fs = nullptr) {
    return Must((fs == nullptr ? *fs_ : *fs).TestLock(kKernel, args));
  }
  // What a stranger finds at each of the first bytes: '.', 's' or 'x'.
  std::string Map(uint64_t bytes = 10) {
    std::string map;
    for (uint64_t i = 0; i < bytes; ++i) {
      if (!Holder(Args("a stranger", kExclusive, i, 1)))
        map += '.';
      else
        map += Holder(Args("a stranger", kShared, i, 1)) ? 'x' : 's';
    }
    return map;
  }

  std::shared_ptr<FileSystem> other_;
  GrantRecorder mine_, theirs_;
  const InodeId ino_;
};

}  // namespace prism::conformance
