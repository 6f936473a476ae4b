// What a check of a store has found.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace prism::cow {

struct CheckReport {
  static constexpr size_t kListedMax = 1000;

  uint64_t damage_count = 0;
  std::vector<std::string> damages;  // the first kListedMax, each with what and where it is

  // What was looked at.
  uint64_t volumes = 0;
  uint64_t inodes = 0;  // each volume's
  uint64_t nodes = 0;
  uint64_t chunks = 0;
  uint64_t data_bytes = 0;  // stored bytes that were read and verified
  // What the journal of a stopped server adds to its last checkpoint, and whether all that was
  // looked at has it: not where the checkpoint is damaged.
  uint64_t journal_records = 0;
  bool journal_included = true;

  template <typename... Args>
  void Say(fmt::format_string<Args...> format, Args&&... args) {
    if (++damage_count > kListedMax) return;
    damages.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
};

}  // namespace prism::cow
