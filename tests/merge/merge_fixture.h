// A store with a base, and working on its clones by paths.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <string_view>

#include "fs/core/host.h"
#include "tests/diff/snapshot_of_files.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism::mergetest {

using difftest::File;
using Files = std::map<std::string, File>;

class MergeTest : public ::testing::Test {
 protected:
  static constexpr fs::Caller kAll{};

  MergeTest() { Open(); }
  void Open();
  void Reopen() {
    host_.reset();
    Open();
  }

  std::shared_ptr<fs::FileSystem> Attach(const std::string& volume);
  Files Read(const std::string& volume) { return difftest::ReadFiles(*Attach(volume)); }

  // By path, "/a/b". What fails, fails the test.
  InodeId Find(const std::string& volume, const std::string& path);
  bool Exists(const std::string& volume, const std::string& path);
  InodeId Put(const std::string& volume, const std::string& path, std::string_view data,
              fs::FileType type = fs::FileType::kRegular);  // new
  void MakeDir(const std::string& volume, const std::string& path) {
    Put(volume, path, {}, fs::FileType::kDirectory);
  }
  // In place, as a whole.
  void Write(const std::string& volume, const std::string& path, std::string_view data);
  // As editors do: another file takes the name.
  void Replace(const std::string& volume, const std::string& path, std::string_view data);
  void Own(const std::string& volume, const std::string& path, uint32_t uid);
  void Move(const std::string& volume, const std::string& from, const std::string& to);
  void Link(const std::string& volume, const std::string& from, const std::string& to);
  void Remove(const std::string& volume, const std::string& path);

  fs::MergeReport Rebase(const std::string& volume, const std::string& onto,
                         const fs::MergeOptions& options = {});
  // Names, links, sizes, and how many inodes and bytes there are, fit together.
  void CheckConsistent(const std::string& volume);
  void ExpectSame(const std::string& a, const std::string& b);

  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;

 private:
  struct Place {
    InodeId dir = 0;
    std::string name;
  };
  Place PlaceOf(fs::FileSystem& volume, const std::string& path);
};

}  // namespace prism::mergetest
