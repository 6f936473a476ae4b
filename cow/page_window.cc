#include "cow/page_window.h"

#include <vector>

namespace prism::cow {

void PageWindow::Add(const std::shared_ptr<File>& file, uint64_t offset, uint64_t size_bytes) {
  std::vector<Run> out;
  {
    std::lock_guard lock(mutex_);
    bytes_ += size_bytes;
    Run* last = runs_.empty() ? nullptr : &runs_.back();
    if (last != nullptr && last->file.lock() == file && last->offset + last->size_bytes == offset &&
        last->size_bytes + size_bytes <= kRunMax) {
      last->size_bytes += size_bytes;
    } else {
      runs_.push_back({file, offset, size_bytes});
    }
    while (bytes_ > size_bytes_ && !runs_.empty()) {
      bytes_ -= runs_.front().size_bytes;
      out.push_back(std::move(runs_.front()));
      runs_.pop_front();
    }
  }
  for (const Run& run : out)
    if (const auto open = run.file.lock()) open->DropCached(run.offset, run.size_bytes);
}

}  // namespace prism::cow
