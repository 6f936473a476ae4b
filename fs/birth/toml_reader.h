// Rules as TOML: an array of tables named `rule`, each with plain fields. Who reads a table says
// which fields it knows; all others are errors, so that a word misspelt is not a rule ignored.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"

namespace prism::birth {

inline constexpr size_t kRulesTextMax = 65536;  // bytes
inline constexpr size_t kRulesMax = 256;
inline constexpr size_t kPathsMax = 256;  // of one rule

// One table. The getters note that the field is known; errors are gathered and told by Finish.
class RuleReader {
 public:
  virtual ~RuleReader() = default;
  virtual std::string Text(const char* field, bool required) = 0;
  virtual std::vector<std::string> Texts(const char* field, bool required) = 0;
  virtual uint64_t Number(const char* field, uint64_t absent, uint64_t max) = 0;
};

// kInvalid, with the line: it is no TOML, or says what is not understood. `read` is called once for
// each rule.
Outcome<void> ReadRules(std::string_view text,
                        const std::function<Outcome<void>(RuleReader&)>& read);

}  // namespace prism::birth
