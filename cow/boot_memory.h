// Memory that outlives the process, as long as the machine is not started anew: a mapped file that
// nobody syncs. What is in it is to be believed on the same boot alone.
#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace prism::cow {

using BootId = std::array<char, 36>;
// Of the machine. All zeros: unknown, and nothing can be believed.
BootId ThisBoot();

// THREADS: none of its own.
class BootMemory {
 public:
  BootMemory() = default;
  BootMemory(const BootMemory&) = delete;
  BootMemory& operator=(const BootMemory&) = delete;
  ~BootMemory();

  // Maps the file, making it with zeros where it is not there or too short. nullptr: it cannot be
  // had, which is logged, or the boot is not known. Once.
  std::byte* Open(const std::string& path, size_t size_bytes);
  // The same to look at: what is written to it stays in this process. nullptr: it is not there, or
  // not of this size.
  std::byte* OpenAsItIs(const std::string& path, size_t size_bytes);

 private:
  std::byte* base_ = nullptr;
  size_t size_bytes_ = 0;
};

}  // namespace prism::cow
