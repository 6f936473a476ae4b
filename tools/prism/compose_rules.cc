#include "tools/prism/compose_rules.h"

#include <cerrno>
#include <fstream>
#include <iterator>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace prism::tool {
namespace {

using nlohmann::json;

constexpr size_t kFileMax = size_t{1} << 20;

std::string Absolute(std::string_view path) {
  return path.starts_with('/') ? std::string(path) : "/" + std::string(path);
}

struct Place {
  std::string_view file;
  uint32_t line = 0;
};

tl::unexpected<Failure> Bad(const Place& place, std::string_view words) {
  return Explain(Err::kInvalid, "{}, line {}: {}", place.file, place.line, words);
}

Outcome<json> RuleOf(const toml::table& table, const Place& place) {
  json rule;
  for (const auto& [key, value] : table) {
    const std::string_view name = key.str();
    const Place here{place.file, key.source().begin.line};
    const bool flag = name == "read_only";
    if (name != "graft" && name != "exclude" && name != "empty" && name != "volatile" &&
        name != "path" && !flag)
      return Bad(here, fmt::format("a rule has no \"{}\"", name));
    if (flag ? !value.is_boolean() : !value.is_string())
      return Bad(here, fmt::format("\"{}\" must be {}", name, flag ? "true or false" : "a string"));
    if (flag) {
      rule["read_only"] = value.as_boolean()->get();
      continue;
    }
    const std::string& text = value.as_string()->get();
    if (name == "path") {
      rule["path"] = Absolute(text);
      continue;
    }
    if (rule.contains("rule")) return Bad(here, "this rule is two rules");
    rule["rule"] = name;
    if (name != "graft") {
      rule["path"] = Absolute(text);
      continue;
    }
    const size_t colon = text.find(':');
    if (colon == text.npos) return Bad(here, "what is grafted is SOURCE:PATH");
    rule["source"] = text.substr(0, colon);
    rule["from"] = Absolute(std::string_view(text).substr(colon + 1));
  }
  const bool graft = rule.value("rule", "") == "graft";
  if (!rule.contains("rule")) return Bad(place, "a rule is graft, exclude, empty or volatile");
  if (graft != table.contains("path") || (!graft && table.contains("read_only")))
    return Bad(place, "graft needs a path, and it alone has path and read_only");
  return rule;
}

}  // namespace

Outcome<json> ParseGraft(std::string_view text) {
  const std::string_view whole = text;
  const bool read_only = text.ends_with(",ro");
  if (read_only) text.remove_suffix(3);
  const size_t colon = text.find(':');
  const size_t equals = text.find("=/");
  if (colon == text.npos || equals == text.npos || equals < colon ||
      text.find("=/", equals + 1) != text.npos)
    return Explain(Err::kInvalid,
                   "\"{}\" is no graft: those are SOURCE:PATH=PATH, with \",ro\" for read-only "
                   "(names with \"=\" at their end: --rules)",
                   whole);
  json rule = {{"rule", "graft"},
               {"source", text.substr(0, colon)},
               {"from", Absolute(text.substr(colon + 1, equals - colon - 1))},
               {"path", text.substr(equals + 1)}};
  if (read_only) rule["read_only"] = true;
  return rule;
}

json PathRule(std::string_view kind, std::string_view path) {
  return {{"rule", kind}, {"path", Absolute(path)}};
}

Outcome<ComposeRules> ParseComposeRules(std::string_view toml, std::string_view file) {
  const toml::parse_result parsed = toml::parse(toml, file);
  if (!parsed) return Bad({file, parsed.error().source().begin.line}, parsed.error().description());
  ComposeRules result;
  for (const auto& [key, value] : parsed.table()) {
    const Place place{file, key.source().begin.line};
    if (key == "from" && value.is_string()) {
      result.base = value.as_string()->get();
    } else if (key == "rule" && value.is_array_of_tables()) {
      for (const toml::node& node : *value.as_array()) {
        PRISM_ASSIGN(json rule, RuleOf(*node.as_table(), {file, node.source().begin.line}));
        result.rules.push_back(std::move(rule));
      }
    } else {
      return Bad(place, fmt::format("\"{}\": there are only from = \"NAME\" and [[rule]]",
                                    std::string_view(key)));
    }
  }
  return result;
}

Outcome<ComposeRules> ReadComposeRules(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return ExplainErrno(errno, file);
  std::string text(kFileMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (in.bad()) return Explain(Err::kIo, "{} cannot be read", file);
  if (text.size() > kFileMax) return Explain(Err::kTooBig, "{} is larger than 1 MiB", file);
  return ParseComposeRules(text, file);
}

}  // namespace prism::tool
