#include "server/control_compose.h"

#include "server/control_birth.h"
#include "server/control_verbs.h"

namespace prism::server {
namespace {

using fs::ComposeRule;
using nlohmann::json;
using enum FieldType;

constexpr Fields kGraftFields{
    {{"rule"}, {"source"}, {"from"}, {"path"}, {"read_only", kFlag, false}}};
constexpr Fields kPathFields{{{"rule"}, {"path"}}};

Outcome<ComposeRule> RuleOf(const json& object) {
  using Kind = ComposeRule::Kind;
  static constexpr std::pair<std::string_view, Kind> kKinds[] = {{"graft", Kind::kGraft},
                                                                 {"exclude", Kind::kExclude},
                                                                 {"empty", Kind::kEmpty},
                                                                 {"volatile", Kind::kVolatile}};
  const auto named = object.find("rule");
  for (const auto& [name, kind] : kKinds) {
    if (named == object.end() || *named != name) continue;
    // CheckFields counts a "verb"; a rule's is in its place.
    json fields = object;
    fields["verb"] = name;
    PRISM_TRY(CheckFields(name, kind == Kind::kGraft ? kGraftFields : kPathFields, fields));
    return ComposeRule{kind, Text(object, "source"), Text(object, "from"), Text(object, "path"),
                       Flag(object, "read_only")};
  }
  return Explain(Err::kInvalid, "a rule is \"graft\", \"exclude\", \"empty\" or \"volatile\"");
}

Outcome<json> Compose(ControlContext& context, const json& request) {
  fs::ComposeOptions options;
  options.base = Text(request, "base");
  for (const json& object : request.value("rules", json::array())) {
    PRISM_ASSIGN(ComposeRule rule, RuleOf(object));
    options.rules.push_back(std::move(rule));
  }
  PRISM_ASSIGN(const std::optional<Identity> identity, Identity::In(request));
  std::optional<fs::Preparation> preparation;
  if (identity) options.preparation = &preparation.emplace(identity->preparation());
  PRISM_ASSIGN(fs::VolumeInfo volume,
               context.host.Compose(Text(request, "name"), options, Text(request, "request_key")));
  return Describe(volume);
}

Outcome<json> ExplainOne(ControlContext& context, const json& request) {
  PRISM_ASSIGN(const fs::Explanation explanation,
               context.host.ExplainFile(Text(request, "name"), Text(request, "path")));
  json origins = json::array();
  for (const fs::FileOrigin& origin : explanation.origins)
    origins.push_back({{"volume", origin.volume},
                       {"path", origin.path},
                       {"rule", origin.rule},
                       {"cut_sec", origin.cut_sec},
                       {"read_only", origin.read_only}});
  return json{{"inode", explanation.ino},
              {"changed", explanation.changed},
              {"origins", std::move(origins)}};
}

}  // namespace

std::span<const ContextVerb> ComposeVerbs() {
  static constexpr std::array kVerbs = {
      ContextVerb{"compose",
                  {{{"name"},
                    {"base", kText, false},
                    {"rules", kObjects, false},
                    {"identity", kRules, false},
                    {"request_key", kText, false}}},
                  Compose},
      ContextVerb{"explain", {{{"name"}, {"path"}}}, ExplainOne},
  };
  return kVerbs;
}

}  // namespace prism::server
