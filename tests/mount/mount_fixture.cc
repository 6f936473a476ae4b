#include "tests/mount/mount_fixture.h"

#include <grp.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "tests/model/model_host.h"

namespace prism::mount {
namespace {

Outcome<std::unique_ptr<fs::Host>> OpenHost(const std::string& directory) {
#ifdef MOUNT_TEST_ENGINE
  return fs::Host::Open({.directory = directory});
#else
  (void)directory;
  return std::unique_ptr<fs::Host>(std::make_unique<model::ModelHost>());
#endif
}

}  // namespace

int RunAs(uid_t uid, gid_t gid, const std::function<int()>& action) {
  pid_t child = fork();
  if (child == 0) {
    bool taken = setgroups(0, nullptr) == 0 && setresgid(gid, gid, gid) == 0 &&
                 setresuid(uid, uid, uid) == 0;
    std::_Exit(taken ? action() : 101);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int Shell(const std::string& command, std::string* output) {
  FILE* pipe = popen(("(" + command + ") 2>&1").c_str(), "r");
  if (pipe == nullptr) return -1;
  std::string text;
  char buffer[4096];
  while (size_t n = fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, n);
  int status = pclose(pipe);
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
  if (output != nullptr)
    *output = text;
  else if (code != 0)
    fprintf(stderr, "%s\n%s", command.c_str(), text.c_str());
  return code;
}

std::string ReadFile(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return "<errno " + std::to_string(errno) + ">";
  return std::string(std::istreambuf_iterator<char>(file), {});
}

void WriteFile(const std::string& path, std::string_view content) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << content << std::flush;
  ASSERT_TRUE(file.good()) << path;
}

bool Eventually(const std::function<bool()>& condition) {
  auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

void MountTest::SetUp() {
  if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0)
    GTEST_SKIP() << "needs root and /dev/fuse";
  char name[] = "/tmp/prism-mount-test.XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  base_ = name;
  auto host = OpenHost(base_ + "/store");
  ASSERT_TRUE(host) << host.error().message;
  host_ = std::move(*host);
  ASSERT_TRUE(host_->Create("base", false).has_value());
  AddMount();
  ASSERT_EQ(chmod(Path("").c_str(), 0777), 0);
}

void MountTest::TearDown() {
  sessions_.clear();
  file_systems_.clear();
  host_.reset();
  if (base_.empty()) return;
  for (size_t i = 0; rmdir((base_ + "/" + std::to_string(i)).c_str()) == 0; ++i) {
  }
  std::error_code error;
  std::filesystem::remove_all(base_ + "/store", error);
  EXPECT_EQ(rmdir(base_.c_str()), 0) << base_;
}

size_t MountTest::AddMount(SessionOptions options) {
  size_t index = sessions_.size();
  std::string directory = base_ + "/" + std::to_string(index);
  EXPECT_EQ(mkdir(directory.c_str(), 0755), 0);
  chmod(base_.c_str(), 0755);
  auto inner = host_->Attach("base", false);
  EXPECT_TRUE(inner.has_value());
  file_systems_.push_back(std::make_shared<CountingFileSystem>(*inner));
  options.directory = directory;
  options.volume = "base";
  auto session = MountSession::Start(file_systems_.back(), options);
  if (!session) {
    ADD_FAILURE() << session.error().message;
    std::abort();
  }
  sessions_.push_back(std::move(*session));
  return index;
}

void MountTest::DropMount(size_t mount) {
  sessions_[mount].reset();
  file_systems_[mount].reset();
}

std::string MountTest::Path(const std::string& name, size_t mount) const {
  std::string path = base_ + "/" + std::to_string(mount);
  return name.empty() ? path : path + "/" + name;
}

}  // namespace prism::mount
