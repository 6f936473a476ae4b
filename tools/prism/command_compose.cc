// Volumes out of parts of others, and where their files come from.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <array>
#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/compose_rules.h"
#include "tools/prism/format.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct ComposeArguments {
  std::string name, base, file, request_key, identity_rules;
  bool identity = false;
  static constexpr std::array<const char*, 4> kKinds = {"exclude", "graft", "empty", "volatile"};
  std::array<std::vector<std::string>, kKinds.size()> of_kind;
  std::array<CLI::Option*, kKinds.size()> options{};
  CLI::App* verb = nullptr;
};

// In the order in which they were given.
Outcome<json> RulesOf(const ComposeArguments& arguments) {
  json rules = json::array();
  std::array<size_t, ComposeArguments::kKinds.size()> taken{};
  for (const CLI::Option* option : arguments.verb->parse_order()) {
    for (size_t kind = 0; kind < taken.size(); ++kind) {
      if (arguments.options[kind] != option) continue;
      const std::string& text = arguments.of_kind[kind].at(taken[kind]++);
      const std::string_view name = ComposeArguments::kKinds[kind];
      if (name == "graft") {
        PRISM_ASSIGN(json rule, ParseGraft(text));
        rules.push_back(std::move(rule));
      } else {
        rules.push_back(PathRule(name, text));
      }
    }
  }
  return rules;
}

Outcome<CommandResult> Compose(const CommonOptions& common, const ComposeArguments& arguments) {
  ComposeRules all;
  if (!arguments.file.empty()) {
    PRISM_ASSIGN(all, ReadComposeRules(arguments.file));
  }
  if (!all.base.empty() && !arguments.base.empty())
    return Explain(Err::kInvalid, "{} names a base already", arguments.file);
  if (!arguments.base.empty()) all.base = arguments.base;
  PRISM_ASSIGN(const json more, RulesOf(arguments));
  all.rules.insert(all.rules.end(), more.begin(), more.end());
  json request = {{"name", arguments.name}};
  if (!all.base.empty()) request["base"] = all.base;
  const size_t count = all.rules.size();
  if (count > 0) request["rules"] = std::move(all.rules);
  if (!arguments.request_key.empty()) request["request_key"] = arguments.request_key;
  if (!arguments.identity_rules.empty()) {
    PRISM_ASSIGN(request["identity"], ReadRules(arguments.identity_rules));
  } else if (arguments.identity) {
    request["identity"] = "";
  }
  PRISM_ASSIGN(Reply reply, Ask(common, "compose", std::move(request)));
  return ResultOf(reply, fmt::format("composed {} by {} rule(s) {}\n", arguments.name, Count(count),
                                     Took(reply)));
}

std::string TextOf(const json& origin) {
  const std::string volume = TextIn(origin, "volume");
  const std::string rule = TextIn(origin, "rule");
  if (rule.empty()) return "made here\n";
  const auto cut = static_cast<std::time_t>(NumberIn(origin, "cut_sec"));
  std::string text = volume.empty() ? "made by the rule" : "from " + Printable(volume);
  if (!volume.empty() && rule.starts_with("--graft"))
    text += ":" + Printable(TextIn(origin, "path"));
  text += fmt::format(", as it was at {:%Y-%m-%d %H:%M:%S}\n  {}{}\n", fmt::localtime(cut),
                      Printable(rule), FlagIn(origin, "read_only") ? " (read-only)" : "");
  return text;
}

Outcome<CommandResult> ExplainFile(const CommonOptions& common, const std::string& name,
                                   const std::string& path) {
  PRISM_ASSIGN(Reply reply, Ask(common, "explain", {{"name", name}, {"path", path}}));
  std::string text;
  bool here = false;
  for (const json& origin : reply.result.value("origins", json::array())) {
    here = text.empty() && TextIn(origin, "rule").empty();
    text += TextOf(origin);
  }
  if (!here) text += FlagIn(reply.result, "changed") ? "changed since\n" : "not changed since\n";
  return ResultOf(reply, std::move(text));
}

}  // namespace

void AddComposeVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto arguments = std::make_shared<ComposeArguments>();
  CLI::App* compose = app.add_subcommand(
      "compose", "make a volume out of parts of others, all as they are at one instant");
  compose->add_option("NEW", arguments->name)->required();
  compose->add_option("--from", arguments->base, "what it begins as; without, it begins empty");
  static constexpr const char* kHelp[] = {
      "PATTERN: what matches goes; each name on the path may have wildcards",
      "SOURCE:PATH=PATH[,ro]: what SOURCE (a volume, or NAME@LABEL) has there; ro: it cannot be "
      "changed",
      "PATH: a directory with nothing in it", "PATH: the same, and again in each clone"};
  for (size_t kind = 0; kind < arguments->options.size(); ++kind)
    arguments->options[kind] = compose
                                   ->add_option(fmt::format("--{}", ComposeArguments::kKinds[kind]),
                                                arguments->of_kind[kind], kHelp[kind])
                                   ->allow_extra_args(false);
  compose->add_option("--rules", arguments->file, "the same, before these, from a TOML file");
  compose->add_flag("--identity", arguments->identity,
                    "it gets its own: machine id, host name, SSH host keys, ... "
                    "(prism rules identity)");
  compose->add_option("--identity-rules", arguments->identity_rules,
                      "the same by the rules in a file");
  compose->add_option("--request-key", arguments->request_key,
                      "a name for this request: done once, however often it is repeated");
  compose->footer("Rules are followed from left to right.");
  arguments->verb = compose;
  compose->callback([&chosen, &common, arguments] {
    chosen = [&common, arguments] { return Compose(common, *arguments); };
  });

  auto about = std::make_shared<std::pair<std::string, std::string>>();
  CLI::App* explain = app.add_subcommand(
      "explain", "where a file came from: source, instant, rule, and whether it has changed");
  explain->add_option("NAME", about->first)->required();
  explain->add_option("PATH", about->second, "from the volume's root")->required();
  explain->callback([&chosen, &common, about] {
    chosen = [&common, about] { return ExplainFile(common, about->first, about->second); };
  });
}

}  // namespace prism::tool
