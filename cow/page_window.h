// What was written last stays in the kernel's page cache, where it may be read soon; what was
// written before that makes room for it.
//
// A store writes its content to ever new places. Left alone, each write takes pages that nobody has
// used for long, and in a virtual machine those are often not backed: the hypervisor then finds
// memory for each page while the write waits (1.4 ms for 1 MiB on a machine where pages just let go
// cost 0.2 ms). The price: content that is neither in the window nor in the chunk cache is read
// from the disk. Thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>

#include "cow/file.h"

namespace prism::cow {

class PageWindow {
 public:
  explicit PageWindow(uint64_t size_bytes) : size_bytes_(size_bytes) {}

  // It has just been written. What is not on the disk when its time comes stays.
  void Add(const std::shared_ptr<File>& file, uint64_t offset, uint64_t size_bytes);

 private:
  struct Run {
    std::weak_ptr<File> file;  // a segment that has gone is not kept on the disk by this
    uint64_t offset = 0;
    uint64_t size_bytes = 0;
  };
  static constexpr uint64_t kRunMax = uint64_t{1} << 20;  // goes as one

  const uint64_t size_bytes_;
  std::mutex mutex_;
  std::deque<Run> runs_;  // guarded by mutex_, the oldest first
  uint64_t bytes_ = 0;    // guarded by mutex_
};

}  // namespace prism::cow
