// Bases that are shared: looking through them, sealing them, and the rules for that.
#include <fmt/format.h>

#include <memory>

#include "fs/birth/identity.h"
#include "fs/birth/seal_rules.h"
#include "tools/prism/ask.h"
#include "tools/prism/format.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct SealOptions {
  std::string name, rules, request_key;
  std::vector<std::string> allow;
  bool check = false;
};

std::string Listed(const json& result) {
  Table table({{"PATH"}, {"LINE", true}, {"RULE"}, {"WHAT"}});
  for (const json& finding : result.value("findings", json::array())) {
    const uint64_t line = NumberIn(finding, "line");
    table.Add({Printable(TextIn(finding, "path")), line == 0 ? "-" : std::to_string(line),
               Printable(TextIn(finding, "rule")), Printable(TextIn(finding, "says"))});
  }
  std::string text = table.empty() ? "" : table.Format();
  if (const uint64_t more = NumberIn(result, "more_findings"); more > 0)
    text += fmt::format("... and {} more\n", Count(more));
  return text;
}

Outcome<CommandResult> Seal(const CommonOptions& common, const SealOptions& options) {
  json request = {{"name", options.name}};
  if (!options.rules.empty()) {
    PRISM_ASSIGN(request["rules"], ReadRules(options.rules));
  }
  if (!options.allow.empty()) request["allow"] = options.allow;
  if (options.check) request["check"] = true;
  PRISM_ASSIGN(Reply reply, Ask(common, "seal", Keyed(std::move(request), options.request_key)));
  const bool clean = reply.result.value("findings", json::array()).empty();
  const bool sealed = FlagIn(reply.result, "sealed");
  const std::string looked =
      fmt::format("looked through {} files, {} {}", Count(NumberIn(reply.result, "files")),
                  Bytes(NumberIn(reply.result, "bytes")), Took(reply));
  CommandResult result = ResultOf(
      reply, Listed(reply.result) + fmt::format("{}{}: {}\n", options.name,
                                                !clean ? " has what must not be shared"
                                                : sealed && !options.check
                                                    ? " is sealed: only clones of it can change"
                                                    : " has nothing that must not be shared",
                                                looked));
  if (!clean) {
    result.json["ok"] = false;
    result.exit_code = kExitFailed;
  }
  return result;
}

Outcome<CommandResult> Rules(const std::string& kind) {
  CommandResult result;
  result.text = kind == "seal" ? birth::DefaultSealRules() : birth::DefaultIdentityRules();
  result.json = {{"ok", true}, {"rules", result.text}};
  return result;
}

}  // namespace

void AddSealVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<SealOptions>();
  CLI::App* seal = app.add_subcommand(
      "seal", "make a volume unchangeable for good, unless it holds what must not be shared");
  seal->add_option("NAME", options->name, "a volume; with --check a snapshot too")->required();
  seal->add_option("--rules", options->rules, "a file to go by (prism rules seal)");
  seal->add_option("--allow", options->allow, "a rule's name, or paths: /etc/ssl/private/*");
  seal->add_flag("--check", options->check, "only look");
  AddRequestKey(*seal, options->request_key);
  seal->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Seal(common, *options); };
  });

  auto kind = std::make_shared<std::string>();
  CLI::App* rules = app.add_subcommand("rules", "print the rules that are built in");
  rules->add_option("KIND", *kind, "identity (clone --identity) or seal")
      ->required()
      ->check(CLI::IsMember({"identity", "seal"}));
  rules->callback([&chosen, kind] { chosen = [kind] { return Rules(*kind); }; });
}

}  // namespace prism::tool
