// A real prismd on a store of its own, and the real `prism` command against it.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/cli/support.h"

namespace prism::tool {

class LiveServer {
 public:
  // Starts it and waits until it answers. `directory` holds the store, the socket and the log.
  // environment: words of the shell that becomes the server, such as "A=$$".
  explicit LiveServer(const std::string& directory, const std::string& options = "",
                      const std::string& environment = "");
  ~LiveServer();  // SIGTERM; the test fails unless it ends cleanly
  LiveServer(const LiveServer&) = delete;
  LiveServer& operator=(const LiveServer&) = delete;

  // "prism --control ... ARGUMENTS", by a shell.
  std::string Command(const std::string& arguments) const;
  ShellResult Prism(const std::string& arguments) const { return Shell(Command(arguments)); }
  // The same with --json; what it printed. Null if that is not JSON.
  nlohmann::json Json(const std::string& arguments) const;
  // The names of all volumes, in order, separated by spaces.
  std::string Names() const;

  // Sends the signal and returns the exit code, or 128 + the signal that ended it.
  int Stop(int signal);
  pid_t pid() const { return pid_; }
  std::string Log() const;

 private:
  std::string directory_;
  pid_t pid_ = -1;
};

}  // namespace prism::tool
