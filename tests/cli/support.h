// What the tests of the command share: places to work in, other programs, a file system in memory.
#pragma once

#include <memory>
#include <string>

#include "fs/contract/file_system.h"
#include "tests/model/model_host.h"
#include "tools/prism/transfer.h"

namespace prism::tool {

// A directory of its own that goes with everything in it.
class TemporaryDirectory {
 public:
  TemporaryDirectory();
  ~TemporaryDirectory();
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What a shell command wrote to stdout and stderr, and its exit code.
struct ShellResult {
  int exit_code = -1;
  std::string output;
};
ShellResult Shell(const std::string& command);

// One empty volume of the reference model.
class ModelVolume {
 public:
  ModelVolume();
  fs::FileSystem& operator*() { return *file_system_; }
  fs::FileSystem* operator->() { return file_system_.get(); }

 private:
  std::unique_ptr<fs::Host> host_;
  std::shared_ptr<fs::FileSystem> file_system_;
};

// The file under a path, no symlinks followed.
Result<fs::Attr> Find(fs::FileSystem& volume, std::string_view path);
std::string Content(fs::FileSystem& volume, std::string_view path);

}  // namespace prism::tool
