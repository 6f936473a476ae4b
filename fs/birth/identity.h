// What tells one machine from another, given to a clone of another machine's file system before
// anybody uses it. Which files that is, is data: rules in TOML, with a set that is built in
// (DefaultIdentityRules explains the form).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"

namespace prism::birth {

struct IdentityRule {
  enum class Action { kRemove, kEmpty, kWrite, kSshHostKeys };
  std::string name;
  Action action = Action::kRemove;
  std::vector<std::string> paths;  // of the volume; patterns as in Expand
  std::string content;             // kWrite: with words in braces
  uint32_t random_bytes = 0;       // kWrite, instead of content
  uint32_t mode = 0644;            // kWrite: of a file that it makes
  bool create = false;             // kWrite: also where there is no file
};

std::string_view DefaultIdentityRules();  // TOML
Outcome<std::vector<IdentityRule>> ParseIdentityRules(std::string_view text);

// Applies all of them to a file system that nobody else uses. `name` is what the machine is called.
// Where a path leads through something that is no directory, or round in a circle, there is nothing
// to be done. Failures say which rule and which path.
Outcome<void> GiveIdentity(fs::FileSystem& volume, std::string_view name,
                           const std::vector<IdentityRule>& rules);

// A volume's name as a host's: up to 63 letters, digits and '-' (RFC 1123, section 2.1).
std::string HostNameOf(std::string_view name);

}  // namespace prism::birth
