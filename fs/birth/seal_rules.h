// What must not be in a file system that many are cloned from: rules in TOML, with a set that is
// built in (DefaultSealRules explains the form).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"

namespace prism::birth {

struct SealRule {
  std::string name;
  std::string says;                  // what was found, for people
  std::vector<std::string> paths;    // globs; empty: everywhere
  std::vector<std::string> except;   // globs
  std::vector<std::string> content;  // regular expressions; none: the file itself, if not empty
};

std::string_view DefaultSealRules();  // TOML
Outcome<std::vector<SealRule>> ParseSealRules(std::string_view text);

}  // namespace prism::birth
