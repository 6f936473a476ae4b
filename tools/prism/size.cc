#include "tools/prism/size.h"

#include <charconv>

namespace prism::tool {

Outcome<uint64_t> ParseSize(std::string_view text) {
  constexpr std::string_view kUnits = "KMGTP";
  std::string_view digits = text;
  int shift = 0;
  if (const size_t at = text.empty() ? text.npos : kUnits.find(text.back()); at != text.npos) {
    shift = 10 * (static_cast<int>(at) + 1);
    digits.remove_suffix(1);
  }
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), number);
  if (error != std::errc() || end != digits.end() || number == 0 ||
      number > (uint64_t{INT64_MAX} >> shift))
    return Explain(Err::kInvalid, "\"{}\" is no size: 4096, 512K, 100M, 20G and 2T are", text);
  return number << shift;
}

Outcome<uint64_t> ParseBound(std::string_view text) {
  if (text == "none") return 0;
  return ParseSize(text);
}

}  // namespace prism::tool
