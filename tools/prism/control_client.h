// The command's end of the control socket (server/PROTOCOL.md).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fs/base/failure.h"
#include "tools/prism/host_file.h"

namespace prism::tool {

struct Reply {
  nlohmann::json result;
  double server_us = 0;  // within the server
  double took_us = 0;    // as seen from here
};

// For one thread. The connection stays open for as long as the object lives: imports depend on it.
class ControlClient {
 public:
  // kDisconnected: no server answers there; the message says what to do.
  static Outcome<ControlClient> Connect(const std::string& path);

  // The server's refusal is a Failure with its code and words.
  Outcome<Reply> Call(std::string_view verb, nlohmann::json request = nlohmann::json::object());

 private:
  ControlClient(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  Outcome<std::string> Exchange(const std::string& line);

  UniqueFd fd_;
  std::string path_;
  std::string received_;
};

// Members of what a server sent, which is not to be trusted: 0, "" and false when they are not
// there or not of this kind.
uint64_t NumberIn(const nlohmann::json& object, const char* name);
std::string TextIn(const nlohmann::json& object, const char* name);
bool FlagIn(const nlohmann::json& object, const char* name);
// Of a volume: its totals are not known yet, and at most what is said.
bool IsBeingCounted(const nlohmann::json& volume);

}  // namespace prism::tool
