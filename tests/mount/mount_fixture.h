// A real mount in a temporary directory, taken away at the end: of the reference model, or, where
// MOUNT_TEST_ENGINE is defined, of the engine on a store of its own.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fs/core/host.h"
#include "fs/mount/mount_session.h"
#include "tests/mount/counting_file_system.h"

namespace prism::mount {

// Runs in a child process with this identity and no privilege; the child's exit status: what
// `action` returns (0..100), 101 if the identity could not be taken.
int RunAs(uid_t uid, gid_t gid, const std::function<int()>& action);

// The exit status of a shell command; its output in *output if given.
int Shell(const std::string& command, std::string* output = nullptr);

std::string ReadFile(const std::string& path);  // "<errno N>" on failure
void WriteFile(const std::string& path, std::string_view content);
// Polls until the condition holds; false after five seconds.
bool Eventually(const std::function<bool()>& condition);

class MountTest : public ::testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // One more mount of the same volume, with a directory of its own; its index.
  size_t AddMount(SessionOptions options = {});
  // The mount's session and then its file system go; the index stays.
  void DropMount(size_t mount);
  // A path in the mount, "" is its root.
  std::string Path(const std::string& name, size_t mount = 0) const;
  CountingFileSystem& file_system(size_t mount = 0) { return *file_systems_[mount]; }
  MountSession& session(size_t mount = 0) { return *sessions_[mount]; }

  std::unique_ptr<fs::Host> host_;

 private:
  std::string base_;
  std::vector<std::shared_ptr<CountingFileSystem>> file_systems_;
  std::vector<std::unique_ptr<MountSession>> sessions_;
};

}  // namespace prism::mount
