#include "cow/boot_memory.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>

#include "cow/file.h"
#include "fs/base/check.h"

namespace prism::cow {

BootId ThisBoot() {
  BootId id{};
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  if (!file.read(id.data(), id.size())) id.fill('\0');
  return id;
}

BootMemory::~BootMemory() {
  if (base_ != nullptr) ::munmap(base_, size_bytes_);
}

std::byte* BootMemory::Open(const std::string& path, size_t size_bytes) {
  PRISM_CHECK(base_ == nullptr);
  if (ThisBoot()[0] == '\0') return nullptr;
  Result<File> file = File::Open(path, O_RDWR | O_CREAT);
  if (!file) return nullptr;
  Result<uint64_t> size = file->Size();
  if (!size) return nullptr;
  // Written, not only reserved: a page that is touched then never needs a block, which a full disk
  // could not give.
  const std::string zeros(std::min<size_t>(size_bytes, 1 << 20), '\0');
  for (uint64_t at = *size / zeros.size() * zeros.size(); at < size_bytes; at += zeros.size())
    if (!file->WriteAt(at, std::string_view(zeros).substr(0, size_bytes - at))) return nullptr;
  void* base =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file->descriptor(), 0);
  if (base == MAP_FAILED) {
    spdlog::warn("{}: {}; what it keeps will not survive the end of this process", path,
                 std::strerror(errno));
    return nullptr;
  }
  size_bytes_ = size_bytes;
  return base_ = static_cast<std::byte*>(base);
}

std::byte* BootMemory::OpenAsItIs(const std::string& path, size_t size_bytes) {
  PRISM_CHECK(base_ == nullptr);
  if (std::error_code error; !std::filesystem::exists(path, error)) return nullptr;
  Result<File> file = File::Open(path, O_RDONLY);
  const Result<uint64_t> size = file ? file->Size() : Fail(Err::kIo);
  if (!size || *size < size_bytes) return nullptr;
  void* base =
      ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, file->descriptor(), 0);
  if (base == MAP_FAILED) return nullptr;
  size_bytes_ = size_bytes;
  return base_ = static_cast<std::byte*>(base);
}

}  // namespace prism::cow
