#include "tests/posix/posix.h"

#include <dirent.h>
#include <grp.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace prism::posix {
namespace {

std::string base;  // --dir

}  // namespace

std::string ErrnoName(int error_number) {
  const char* name = strerrorname_np(error_number);
  if (error_number == 0) return "success";
  return name != nullptr ? name : std::to_string(error_number);
}

std::string Pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  uint64_t state = seed * 2654435761u + 1;
  for (char& byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(1 + (state >> 33) % 255);
  }
  return bytes;
}

Posix::Posix() : dir_(base + "/posix-XXXXXX") {
  EXPECT_NE(mkdtemp(dir_.data()), nullptr) << "in " << base;
  EXPECT_CALL(chmod(dir_.c_str(), 0755));
}

Posix::~Posix() {
  std::error_code error;
  std::filesystem::remove_all(dir_, error);
  EXPECT_FALSE(error) << error.message();
}

std::string Posix::MakeFile(std::string_view name, std::string_view data, mode_t mode) {
  std::string path = Path(name);
  Fd fd(open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY, mode));
  EXPECT_TRUE(fd.ok()) << path << ": " << std::strerror(errno);
  EXPECT_EQ(write(fd.get(), data.data(), data.size()), static_cast<ssize_t>(data.size()));
  return path;
}

std::string Posix::MakeDir(std::string_view name, mode_t mode) {
  std::string path = Path(name);
  EXPECT_CALL(mkdir(path.c_str(), mode));
  return path;
}

void Posix::Append(const std::string& path, std::string_view data) {
  Fd fd(open(path.c_str(), O_WRONLY | O_APPEND));
  EXPECT_EQ(write(fd.get(), data.data(), data.size()), static_cast<ssize_t>(data.size()));
}

std::string Posix::Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

struct stat Posix::Stat(const std::string& path) {
  struct stat result {};
  EXPECT_CALL(lstat(path.c_str(), &result)) << path;
  return result;
}

bool Posix::Exists(const std::string& path) {
  struct stat ignored {};
  return lstat(path.c_str(), &ignored) == 0;
}

std::vector<std::string> Posix::List(const std::string& path) {
  std::vector<std::string> names;
  DIR* dir = opendir(path.c_str());
  EXPECT_NE(dir, nullptr);
  if (dir == nullptr) return names;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  closedir(dir);
  std::sort(names.begin(), names.end());
  return names;
}

int Posix::InChild(const std::function<int()>& body) {
  pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "the child was killed by signal " << WTERMSIG(status);
  return WEXITSTATUS(status);
}

int Posix::RunAs(uid_t uid, gid_t gid, const std::vector<gid_t>& groups,
                 const std::function<int()>& body) {
  return InChild([&] {
    if (setgroups(groups.size(), groups.data()) != 0) return 255;
    if (setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) return 255;
    return body();
  });
}

}  // namespace prism::posix

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  std::string own;  // without --dir: a temporary directory
  if (argc == 3 && std::string_view(argv[1]) == "--dir") {
    prism::posix::base = argv[2];
  } else if (argc == 1) {
    own = (std::filesystem::temp_directory_path() / "prism-posix-XXXXXX").string();
    if (mkdtemp(own.data()) == nullptr || chmod(own.c_str(), 0755) != 0) return 1;
    prism::posix::base = own;
  } else {
    std::fprintf(stderr, "usage: posix_suite [--dir DIRECTORY-OF-THE-FILE-SYSTEM-UNDER-TEST]\n");
    return 2;
  }
  umask(0);
  int result = RUN_ALL_TESTS();
  if (!own.empty()) rmdir(own.c_str());
  return result;
}
