#include "tests/bench/fleet_system.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "tests/bench/measure.h"

namespace prism::bench {

void FleetSystem::CloneMany(const std::string& source, const std::vector<std::string>& targets) {
  for (const std::string& target : targets) Clone(source, target);
}

void RunProgram(const std::vector<std::string>& words) {
  std::vector<char*> arguments;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  pid_t pid = 0;
  int error = posix_spawnp(&pid, arguments[0], &actions, nullptr, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) Die("cannot run " + words[0]);
  int status = 0;
  if (waitpid(pid, &status, 0) != pid || status != 0) {
    std::string line;
    for (const std::string& word : words) line += " " + word;
    Die("failed:" + line);
  }
}

uint64_t AllocatedBytes(const std::string& directory) {
  uint64_t blocks = 0;
  auto add = [&](const std::string& path) {
    struct stat status;
    if (lstat(path.c_str(), &status) == 0) blocks += static_cast<uint64_t>(status.st_blocks);
  };
  add(directory);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory))
    add(entry.path());
  return blocks * 512;
}

}  // namespace prism::bench
