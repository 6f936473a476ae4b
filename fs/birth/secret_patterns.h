// The patterns of seal rules, compiled. RE2: time is linear in what is looked at, whatever the
// patterns and the bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "fs/birth/seal_rules.h"

namespace prism::birth {

// THREADS: every const method from any thread.
class SecretPatterns {
 public:
  // `allowed`: rules by their names, and paths (globs, beginning with /) that are not looked at.
  // kInvalid: a pattern is none, or an allowed rule does not exist.
  static Outcome<std::unique_ptr<SecretPatterns>> Make(const std::vector<SealRule>& rules,
                                                       const std::vector<std::string>& allowed);
  ~SecretPatterns();

  // What there is to look for in the file at that path.
  struct Task {
    std::vector<size_t> files;     // rules that its being there, not empty, offends
    std::vector<size_t> contents;  // rules whose content has to be looked for
  };
  Task TaskFor(std::string_view path) const;

  // Where the rule's content is in these bytes for the first time; npos: nowhere.
  size_t Find(size_t rule, std::string_view bytes) const;
  // Those of task.contents that are in these bytes.
  std::vector<size_t> Match(const Task& task, std::string_view bytes) const;

  const SealRule& rule(size_t index) const { return rules_[index]; }

 private:
  struct Compiled;
  SecretPatterns();

  std::vector<SealRule> rules_;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace prism::birth
