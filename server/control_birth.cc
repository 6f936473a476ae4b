#include "server/control_birth.h"

#include "fs/birth/seal_check.h"
#include "server/control_quota.h"
#include "server/control_verbs.h"

namespace prism::server {
namespace {

using nlohmann::json;

std::string_view RulesOr(const std::string& rules, std::string_view defaults) {
  return rules.empty() ? defaults : std::string_view(rules);
}

json Describe(const birth::SealReport& report, const birth::SecretPatterns& patterns) {
  json findings = json::array();
  for (const birth::Finding& finding : report.findings) {
    const birth::SealRule& rule = patterns.rule(finding.rule);
    findings.push_back(
        {{"path", finding.path}, {"rule", rule.name}, {"says", rule.says}, {"line", finding.line}});
  }
  return {{"findings", std::move(findings)},
          {"more_findings", report.more_findings},
          {"files", report.files},
          {"bytes", report.bytes}};
}

// What is found is an answer, not a failure: a client needs the list.
Outcome<json> Seal(ControlContext& context, const json& request) {
  const std::string text = Text(request, "rules");
  const std::vector<std::string> allowed = Texts(request, "allow");
  PRISM_ASSIGN(const std::vector<birth::SealRule> rules,
               birth::ParseSealRules(RulesOr(text, birth::DefaultSealRules())));
  PRISM_ASSIGN(const std::unique_ptr<birth::SecretPatterns> patterns,
               birth::SecretPatterns::Make(rules, allowed));
  birth::SealReport report;
  const bool check = Flag(request, "check");
  auto inspect = [&](fs::FileSystem& cut) -> Outcome<void> {
    PRISM_ASSIGN(report, birth::CheckForSecrets(cut, *patterns));
    if (check || report.findings.empty()) return {};
    return Explain(Err::kPerm, "found {} things that must not be shared", report.findings.size());
  };
  const fs::Inspection inspection{
      inspect, json{text, allowed}.dump(-1, ' ', true, json::error_handler_t::replace)};
  const std::string name = Text(request, "name");
  Outcome<fs::VolumeInfo> volume =
      check ? context.host.Inspect(name, inspection)
            : context.host.Seal(name, inspection, Text(request, "request_key"));
  if (!volume && report.findings.empty()) return tl::unexpected(volume.error());
  json result = Describe(report, *patterns);
  result["sealed"] = volume && volume->sealed;
  return result;
}

}  // namespace

Outcome<std::optional<Identity>> Identity::In(const json& request) {
  if (!request.contains("identity")) return std::nullopt;
  const std::string text = Text(request, "identity");
  Identity identity;
  PRISM_ASSIGN(identity.rules_,
               birth::ParseIdentityRules(RulesOr(text, birth::DefaultIdentityRules())));
  identity.description_ = "identity " + text;
  return identity;
}

Outcome<json> Clone(ControlContext& context, const json& request) {
  fs::CloneOptions options;
  const std::string key = Text(request, "request_key");
  options.request_key = key;
  options.quota = QuotaIn(request, "quota_");
  if (request.contains("barrier_ms")) {
    const uint64_t barrier_ms = Number(request, "barrier_ms");
    options.barrier_ms = static_cast<uint32_t>(std::min<uint64_t>(barrier_ms, UINT32_MAX));
  }
  PRISM_ASSIGN(const std::optional<Identity> identity, Identity::In(request));
  std::optional<fs::Preparation> preparation;
  if (identity) options.preparation = &preparation.emplace(identity->preparation());
  PRISM_ASSIGN(const fs::CloneResult made,
               context.host.CloneWith(Text(request, "source"), Texts(request, "targets"), options));
  json result = Describe(made.volumes);
  for (json& volume : result)
    if (options.barrier_ms && !made.reason.empty()) volume["reason"] = made.reason;
  return result;
}

std::span<const ContextVerb> BirthVerbs() {
  using enum FieldType;
  static constexpr std::array kVerbs = {
      ContextVerb{"seal",
                  {{{"name"},
                    {"rules", kRules, false},
                    {"allow", kTexts, false},
                    {"check", kFlag, false},
                    {"request_key", kText, false}}},
                  Seal},
  };
  return kVerbs;
}

}  // namespace prism::server
