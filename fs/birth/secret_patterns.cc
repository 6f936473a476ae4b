#include "fs/birth/secret_patterns.h"

#include <re2/re2.h>
#include <re2/set.h>

#include <algorithm>

namespace prism::birth {
namespace {

using re2::RE2;

constexpr int64_t kCompiledBytesMax = int64_t{64} << 20;

// Bytes, not characters: what is looked at need not be text.
RE2::Options PlainOptions() {
  RE2::Options options(RE2::Latin1);
  options.set_log_errors(false);
  options.set_max_mem(kCompiledBytesMax);
  return options;
}

// A glob as a regular expression for whole paths: ** stands for any number of parts.
std::string ExpressionOf(std::string_view glob) {
  std::string expression;
  while (!glob.empty()) {
    if (glob.starts_with("**/")) {
      expression += "(?:.*/)?";
      glob.remove_prefix(3);
    } else if (glob.starts_with("**")) {
      expression += ".*";
      glob.remove_prefix(2);
    } else {
      const char c = glob.front();
      expression += c == '*' ? "[^/]*" : c == '?' ? "[^/]" : RE2::QuoteMeta(glob.substr(0, 1));
      glob.remove_prefix(1);
    }
  }
  return "(?s)" + expression;
}

// Several patterns at once; each has an owner.
class PatternSet {
 public:
  explicit PatternSet(RE2::Anchor anchor) : set_(PlainOptions(), anchor) {}

  Outcome<void> Add(const std::string& expression, std::string_view rule, size_t owner) {
    std::string error;
    if (expression.empty() || set_.Add(expression, &error) < 0)
      return Explain(Err::kInvalid, "rule {}: not a pattern: {}", rule, error);
    owners_.push_back(owner);
    return {};
  }
  Outcome<void> Compile() {
    if (owners_.empty() || set_.Compile()) return {};
    return Explain(Err::kInvalid, "the patterns of all rules together are too large");
  }
  // False: it would take too much memory to tell.
  bool Match(std::string_view bytes, std::vector<size_t>& owners) const {
    if (owners_.empty()) return true;
    std::vector<int> hits;
    RE2::Set::ErrorInfo error{};
    const bool any = set_.Match(re2::StringPiece(bytes.data(), bytes.size()), &hits, &error);
    if (!any && error.kind != RE2::Set::kNoError) return false;
    for (const int hit : hits) owners.push_back(owners_[static_cast<size_t>(hit)]);
    std::sort(owners.begin(), owners.end());
    owners.erase(std::unique(owners.begin(), owners.end()), owners.end());
    return true;
  }

 private:
  RE2::Set set_;
  std::vector<size_t> owners_;
};

bool Has(const std::vector<size_t>& sorted, size_t value) {
  return std::binary_search(sorted.begin(), sorted.end(), value);
}

}  // namespace

struct SecretPatterns::Compiled {
  PatternSet paths{RE2::ANCHOR_BOTH};
  PatternSet except{RE2::ANCHOR_BOTH};
  PatternSet allowed{RE2::ANCHOR_BOTH};
  PatternSet contents{RE2::UNANCHORED};
  std::vector<std::vector<std::unique_ptr<RE2>>> alone;  // by rule
};

SecretPatterns::SecretPatterns() : compiled_(std::make_unique<Compiled>()) {}
SecretPatterns::~SecretPatterns() = default;

Outcome<std::unique_ptr<SecretPatterns>> SecretPatterns::Make(
    const std::vector<SealRule>& rules, const std::vector<std::string>& allowed) {
  std::unique_ptr<SecretPatterns> patterns(new SecretPatterns);
  Compiled& compiled = *patterns->compiled_;
  for (const std::string& word : allowed) {
    const bool is_path = word.starts_with('/');
    if (is_path) PRISM_TRY(compiled.allowed.Add(ExpressionOf(word), "--allow", 0));
    if (!is_path && std::none_of(rules.begin(), rules.end(),
                                 [&](const SealRule& rule) { return rule.name == word; }))
      return Explain(Err::kInvalid, "there is no rule \"{}\" to allow; paths begin with /",
                     word.substr(0, 64));
  }
  for (const SealRule& rule : rules) {
    if (std::find(allowed.begin(), allowed.end(), rule.name) != allowed.end()) continue;
    const size_t index = patterns->rules_.size();
    patterns->rules_.push_back(rule);
    for (const std::string& glob : rule.paths)
      PRISM_TRY(compiled.paths.Add(ExpressionOf(glob), rule.name, index));
    if (rule.paths.empty()) PRISM_TRY(compiled.paths.Add("(?s).*", rule.name, index));
    for (const std::string& glob : rule.except)
      PRISM_TRY(compiled.except.Add(ExpressionOf(glob), rule.name, index));
    compiled.alone.emplace_back();
    for (const std::string& pattern : rule.content) {
      const std::string expression = "(?m)" + pattern;
      PRISM_TRY(compiled.contents.Add(expression, rule.name, index));
      compiled.alone.back().push_back(std::make_unique<RE2>(expression, PlainOptions()));
    }
  }
  for (PatternSet* set : {&compiled.paths, &compiled.except, &compiled.allowed, &compiled.contents})
    PRISM_TRY(set->Compile());
  return patterns;
}

// A path that cannot be judged by the set is looked at for everything.
SecretPatterns::Task SecretPatterns::TaskFor(std::string_view path) const {
  Task task;
  std::vector<size_t> rules, except, allowed;
  if (compiled_->allowed.Match(path, allowed) && !allowed.empty()) return task;
  if (!compiled_->paths.Match(path, rules))
    for (size_t i = 0; i < rules_.size(); ++i) rules.push_back(i);
  (void)compiled_->except.Match(path, except);
  for (const size_t rule : rules) {
    if (Has(except, rule)) continue;
    (rules_[rule].content.empty() ? task.files : task.contents).push_back(rule);
  }
  return task;
}

std::vector<size_t> SecretPatterns::Match(const Task& task, std::string_view bytes) const {
  std::vector<size_t> found;
  if (!compiled_->contents.Match(bytes, found)) {
    found.clear();
    for (const size_t rule : task.contents)
      if (Find(rule, bytes) != bytes.npos) found.push_back(rule);
  }
  std::erase_if(found, [&](size_t rule) { return !Has(task.contents, rule); });
  return found;
}

size_t SecretPatterns::Find(size_t rule, std::string_view bytes) const {
  const re2::StringPiece text(bytes.data(), bytes.size());
  size_t first = bytes.npos;
  for (const std::unique_ptr<RE2>& pattern : compiled_->alone[rule]) {
    re2::StringPiece match;
    if (pattern->Match(text, 0, text.size(), RE2::UNANCHORED, &match, 1))
      first = std::min(first, static_cast<size_t>(match.data() - text.data()));
  }
  return first;
}

}  // namespace prism::birth
