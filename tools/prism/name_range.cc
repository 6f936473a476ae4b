#include "tools/prism/name_range.h"

#include <charconv>

namespace prism::tool {
namespace {

bool ParseNumber(std::string_view text, uint32_t& number) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

Outcome<void> Expand(std::string_view pattern, std::vector<std::string>& names) {
  if (names.size() >= kExpandedNamesMax)
    return Explain(Err::kInvalid, "more than {} names", kExpandedNamesMax);
  const size_t open = pattern.find('{');
  if (open == pattern.npos) {
    names.emplace_back(pattern);
    return {};
  }
  const size_t close = pattern.find('}', open);
  const size_t dots = pattern.find("..", open);
  uint32_t first = 0, last = 0;
  if (close == pattern.npos || dots == pattern.npos || dots > close ||
      !ParseNumber(pattern.substr(open + 1, dots - open - 1), first) ||
      !ParseNumber(pattern.substr(dots + 2, close - dots - 2), last) || first > last)
    return Explain(Err::kInvalid, "\"{}\": a range is {{FIRST..LAST}}, with numbers", pattern);
  const size_t width = pattern[open + 1] == '0' ? dots - open - 1 : 0;
  for (uint64_t number = first; number <= last; ++number)
    PRISM_TRY(Expand(fmt::format("{}{:0{}}{}", pattern.substr(0, open), number, width,
                                 pattern.substr(close + 1)),
                     names));
  return {};
}

}  // namespace

Outcome<std::vector<std::string>> ExpandNames(const std::vector<std::string>& patterns) {
  std::vector<std::string> names;
  for (const std::string& pattern : patterns) PRISM_TRY(Expand(pattern, names));
  return names;
}

Outcome<int64_t> ParseDuration(std::string_view text) {
  constexpr std::string_view kUnits = "smhdw";
  constexpr int64_t kSeconds[] = {1, 60, 3600, 24 * 3600, 7 * 24 * 3600};
  std::string_view digits = text;
  int64_t unit = 1;
  if (const size_t at = text.empty() ? text.npos : kUnits.find(text.back()); at != text.npos) {
    unit = kSeconds[at];
    digits.remove_suffix(1);
  }
  uint32_t number = 0;
  if (!ParseNumber(digits, number) || number == 0)
    return Explain(Err::kInvalid, "\"{}\" is no time: 90s, 15m, 12h, 7d and 2w are", text);
  return number * unit;
}

}  // namespace prism::tool
