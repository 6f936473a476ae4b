#include "fs/birth/seal_rules.h"

#include "fs/birth/secret_patterns.h"
#include "fs/birth/toml_reader.h"

namespace prism::birth {

Outcome<std::vector<SealRule>> ParseSealRules(std::string_view text) {
  std::vector<SealRule> rules;
  PRISM_TRY(ReadRules(text, [&](RuleReader& reader) -> Outcome<void> {
    SealRule& rule = rules.emplace_back();
    rule.name = reader.Text("name", true);
    rule.says = reader.Text("says", true);
    rule.paths = reader.Texts("paths", false);
    rule.except = reader.Texts("except", false);
    rule.content = reader.Texts("content", false);
    if (rule.name.empty() || rule.name.starts_with('/'))
      return Explain(Err::kInvalid, "a rule's name is neither empty nor begins with /");
    if (rule.paths.empty() && rule.content.empty())
      return Explain(Err::kInvalid, "rule {}: it needs \"paths\" or \"content\"", rule.name);
    return {};
  }));
  PRISM_TRY(SecretPatterns::Make(rules, {}));  // so that what cannot be compiled is said at once
  return rules;
}

}  // namespace prism::birth
