// A tree of small files in a volume, made in process.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/core/host.h"
#include "tests/bench/measure.h"

namespace prism::bench {

inline constexpr uint64_t kFilesPerDir = 1000;

// File i is "d<i / 1000>/f<i>" with `data_bytes` bytes of its own; directories first, in order.
struct SmallTree {
  std::vector<InodeId> dirs;
  std::vector<InodeId> files;
  static std::string DirName(uint64_t file) { return "d" + std::to_string(file / kFilesPerDir); }
  static std::string FileName(uint64_t file) { return "f" + std::to_string(file); }
};

SmallTree MakeSmallTree(fs::FileSystem& file_system, uint64_t files, size_t data_bytes);

std::shared_ptr<fs::FileSystem> AttachTo(fs::Host& host, const std::string& volume);

// An empty place for a store below `directory`, which is emptied first: only if it holds nothing,
// or the mark that an earlier benchmark left.
std::string FreshStore(const std::string& directory);

}  // namespace prism::bench
