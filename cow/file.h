// Files of the store's own media (journal, segments), by descriptor.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "fs/base/failure.h"

namespace prism::cow {

// Owns a descriptor. Errors are logged with the file's name and returned as kIo or kNoSpace.
class File {
 public:
  File() = default;
  File(File&& other) noexcept
      : descriptor_(std::exchange(other.descriptor_, -1)), path_(std::move(other.path_)) {}
  File& operator=(File&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    std::swap(path_, other.path_);
    return *this;
  }
  ~File();

  static Result<File> Open(const std::string& path, int flags);  // open(2), mode 0600, O_CLOEXEC

  Status WriteAt(uint64_t offset, std::string_view bytes);
  // Several pieces, one after another.
  Status WriteAt(uint64_t offset, std::span<const std::string_view> parts);
  // Exactly out.size() bytes; a file that ends before is kCorrupt.
  Status ReadAt(uint64_t offset, std::span<std::byte> out);
  // The same into several places, one after another.
  Status ReadAt(uint64_t offset, std::span<const std::span<std::byte>> parts);
  Status SyncData();
  void StartWriteBack(uint64_t offset, uint64_t size_bytes);  // a hint
  // What of it is on the disk leaves the page cache; a hint.
  void DropCached(uint64_t offset, uint64_t size_bytes);
  Result<uint64_t> Size() const;
  bool is_open() const { return descriptor_ >= 0; }
  int descriptor() const { return descriptor_; }

 private:
  int descriptor_ = -1;
  std::string path_;
};

// Makes creations and removals of files within a directory durable.
Status SyncDirectory(const std::string& path);

}  // namespace prism::cow
