#include "tests/cli/live_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

namespace prism::tool {

LiveServer::LiveServer(const std::string& directory, const std::string& options,
                       const std::string& environment)
    : directory_(directory) {
  const std::string command =
      fmt::format("{} exec {} --store {}/store --control {}/control.sock {} 2>>{}/log", environment,
                  PRISMD_PATH, directory, directory, options, directory);
  pid_ = fork();
  if (pid_ == 0) {
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  for (int i = 0; i < 600; ++i) {
    if (Prism("ping").exit_code == 0) return;
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      break;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ADD_FAILURE() << "the server did not start:\n" << Log();
}

LiveServer::~LiveServer() {
  if (pid_ <= 0) return;
  EXPECT_EQ(Stop(SIGTERM), 0) << Log();
}

std::string LiveServer::Command(const std::string& arguments) const {
  return fmt::format("{} --control {}/control.sock {}", PRISM_PATH, directory_, arguments);
}

nlohmann::json LiveServer::Json(const std::string& arguments) const {
  const ShellResult result = Shell(Command(arguments + " --json 2>/dev/null"));
  nlohmann::json parsed = nlohmann::json::parse(result.output, nullptr, false);
  return parsed.is_discarded() ? nlohmann::json() : parsed;
}

std::string LiveServer::Names() const {
  std::string names;
  const nlohmann::json list = Json("list");
  for (const auto& volume : list.at("result"))
    names += (names.empty() ? "" : " ") + volume["name"].get<std::string>();
  return names;
}

int LiveServer::Stop(int signal) {
  if (pid_ <= 0) {  // and kill(-1) would end every process there is
    ADD_FAILURE() << "the server does not run";
    return -1;
  }
  kill(pid_, signal);
  int status = 0;
  for (int i = 0; i < 6000; ++i) {
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  ADD_FAILURE() << "the server does not end";
  kill(pid_, SIGKILL);
  waitpid(pid_, &status, 0);
  pid_ = -1;
  return -1;
}

std::string LiveServer::Log() const {
  std::ostringstream text;
  text << std::ifstream(directory_ + "/log").rdbuf();
  return text.str();
}

}  // namespace prism::tool
