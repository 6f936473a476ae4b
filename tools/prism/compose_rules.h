// The rules of `prism compose`, from the command line and from files.
//
// A file is TOML:
//
//   from = "debian"                    # the base, if there is one
//   [[rule]]
//   graft = "web@monday:/srv/www"      # SOURCE:PATH
//   path = "/srv/www"
//   read_only = true                   # if it is to be
//   [[rule]]
//   exclude = "/var/cache/*"           # or empty, or volatile
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "fs/base/failure.h"

namespace prism::tool {

// As the control socket takes them (server/PROTOCOL.md).
struct ComposeRules {
  std::string base;
  nlohmann::json rules = nlohmann::json::array();
};

// SOURCE:PATH=PATH, perhaps with ",ro" at the end.
Outcome<nlohmann::json> ParseGraft(std::string_view text);
// Of the other kinds. A path may do without its first slash.
nlohmann::json PathRule(std::string_view kind, std::string_view path);

Outcome<ComposeRules> ReadComposeRules(const std::string& file);
Outcome<ComposeRules> ParseComposeRules(std::string_view toml, std::string_view file);

}  // namespace prism::tool
