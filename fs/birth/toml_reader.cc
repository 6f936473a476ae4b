#include "fs/birth/toml_reader.h"

#include <set>

// Its library throws; without exceptions there is only the header.
#define TOML_HEADER_ONLY 1
#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

namespace prism::birth {
namespace {

class TableReader : public RuleReader {
 public:
  explicit TableReader(const toml::table& table) : table_(table) {}

  std::string Text(const char* field, bool required) override {
    const toml::node* node = Find(field, required);
    if (node == nullptr) return {};
    if (const toml::value<std::string>* text = node->as_string()) return text->get();
    Complain(field, "must be a string");
    return {};
  }

  std::vector<std::string> Texts(const char* field, bool required) override {
    const toml::node* node = Find(field, required);
    std::vector<std::string> texts;
    if (node == nullptr) return texts;
    const toml::array* array = node->as_array();
    if (array == nullptr || array->empty() || array->size() > kPathsMax) {
      Complain(field, fmt::format("must be an array of 1 to {} strings", kPathsMax));
      return texts;
    }
    for (const toml::node& item : *array) {
      if (const toml::value<std::string>* text = item.as_string())
        texts.push_back(text->get());
      else
        Complain(field, "must hold strings alone");
    }
    return texts;
  }

  uint64_t Number(const char* field, uint64_t absent, uint64_t max) override {
    const toml::node* node = Find(field, false);
    if (node == nullptr) return absent;
    const toml::value<int64_t>* number = node->as_integer();
    if (number != nullptr && number->get() >= 0 && static_cast<uint64_t>(number->get()) <= max)
      return static_cast<uint64_t>(number->get());
    Complain(field, fmt::format("must be a whole number up to {}", max));
    return absent;
  }

  Outcome<void> Finish() {
    for (const auto& [key, node] : table_)
      if (!known_.contains(std::string_view(key.str())))
        Complain(key.str(), "is no field of such a rule");
    if (complaint_.empty()) return {};
    return Explain(Err::kInvalid, "the rule at line {}: {}", table_.source().begin.line,
                   complaint_);
  }

 private:
  const toml::node* Find(const char* field, bool required) {
    known_.insert(field);
    const toml::node* node = table_.get(field);
    if (node == nullptr && required) Complain(field, "is missing");
    return node;
  }
  void Complain(std::string_view field, std::string_view what) {
    if (complaint_.empty()) complaint_ = fmt::format("\"{}\" {}", field, what);
  }

  const toml::table& table_;
  std::set<std::string_view> known_;
  std::string complaint_;  // the first
};

}  // namespace

Outcome<void> ReadRules(std::string_view text,
                        const std::function<Outcome<void>(RuleReader&)>& read) {
  if (text.size() > kRulesTextMax)
    return Explain(Err::kInvalid, "rules have at most {} bytes", kRulesTextMax);
  toml::parse_result parsed = toml::parse(text);
  if (!parsed)
    return Explain(Err::kInvalid, "the rules are no TOML, at line {}: {}",
                   parsed.error().source().begin.line, parsed.error().description());
  const toml::table& root = parsed.table();
  const toml::array* rules = root["rule"].as_array();
  if (rules == nullptr || root.size() != 1 || !rules->is_array_of_tables() ||
      rules->size() > kRulesMax)
    return Explain(Err::kInvalid, "rules are 1 to {} tables, each begun by [[rule]]", kRulesMax);
  for (const toml::node& rule : *rules) {
    TableReader reader(*rule.as_table());
    Outcome<void> done = read(reader);
    PRISM_TRY(reader.Finish());
    PRISM_TRY(done);
  }
  return {};
}

}  // namespace prism::birth
