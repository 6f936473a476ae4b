// A store, and short words for making and comparing trees by paths.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "clone/composition.h"
#include "fs/core/host.h"
#include "tests/support/print.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::compose {

using fs::Attr;
using fs::Caller;
using fs::ComposeOptions;
using fs::ComposeRule;
using fs::FileSystem;
using fs::FileType;
using test::ErrOf;
using test::Must;
using At = std::source_location;

inline constexpr Caller kRoot{};

// A file system by paths. What must succeed fails the test where it was called.
class Tree {
 public:
  explicit Tree(std::shared_ptr<FileSystem> files) : files_(std::move(files)) {}
  FileSystem& files() { return *files_; }
  void Detach() { files_.reset(); }

  Result<Attr> Stat(const std::string& path);
  InodeId Ino(const std::string& path, At at = At::current());
  InodeId MakeDir(const std::string& path, At at = At::current());  // with those above it
  InodeId Write(const std::string& path, std::string_view data, uint64_t offset = 0,
                At at = At::current());
  std::string Read(const std::string& path, At at = At::current());
  void Symlink(const std::string& path, const std::string& target, At at = At::current());
  void Link(const std::string& from, const std::string& to, At at = At::current());
  Err Rename(const std::string& from, const std::string& to);
  Err Unlink(const std::string& path);
  void Xattr(const std::string& path, const std::string& name, const std::string& value,
             At at = At::current());
  std::vector<std::string> Names(const std::string& dir, At at = At::current());

  // Every path below `dir`, with all that `cp -a` keeps in words: type, mode, owners, sizes, links
  // within the tree, bytes, holes, targets, attributes. Times of directories are left out.
  std::map<std::string, std::string> Describe(const std::string& dir, At at = At::current());
  // All inode numbers.
  std::map<InodeId, std::string> Inodes();

 private:
  Result<std::pair<InodeId, std::string>> Parent(const std::string& path);
  std::string DescribeFile(const Attr& attr);

  std::shared_ptr<FileSystem> files_;
};

class Compose : public ::testing::Test {
 protected:
  Compose() { Open(); }
  // Whatever a test has done, the store is whole, as it serves and afterwards.
  void TearDown() override;
  // The same without a server.
  cow::CheckReport ExpectWhole(At at = At::current());
  void Open();
  void Reopen() {
    host_.reset();
    Open();
  }
  Tree Attach(const std::string& name, At at = At::current()) {
    return Tree(Must(host_->Attach(name, false), at));
  }
  void Create(const std::string& name, At at = At::current()) {
    Must(host_->Create(name, false), at);
  }
  // A volume with all kinds of files: /a, /b and /deep/er, with links between them.
  void MakeSource(const std::string& name, const std::string& mark = {});
  Outcome<fs::VolumeInfo> Make(const std::string& name, const std::string& base,
                               std::vector<ComposeRule> rules, const std::string& key = {}) {
    return host_->Compose(name, {base, std::move(rules)}, key);
  }
  fs::VolumeInfo Counted(const std::string& name, At at = At::current());

  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
};

// Every number that a file of these tests may have had.
inline std::vector<InodeId> AllNumbers(InodeId prefixes) {
  std::vector<InodeId> numbers;
  for (InodeId prefix = 0; prefix < prefixes; ++prefix)
    for (VolumeId line = 0; line < 10; ++line)
      for (InodeId low = 0; low < 120; ++low)
        numbers.push_back(prefix << clone::kPrefixShift | (clone::FirstInode(line) + low));
  return numbers;
}

inline ComposeRule Graft(std::string source, std::string from, std::string path, bool ro = false) {
  return {ComposeRule::Kind::kGraft, std::move(source), std::move(from), std::move(path), ro};
}
inline ComposeRule Exclude(std::string path) {
  return {ComposeRule::Kind::kExclude, {}, {}, std::move(path), false};
}
inline ComposeRule Empty(std::string path) {
  return {ComposeRule::Kind::kEmpty, {}, {}, std::move(path), false};
}
inline ComposeRule Volatile(std::string path) {
  return {ComposeRule::Kind::kVolatile, {}, {}, std::move(path), false};
}

}  // namespace prism::compose
