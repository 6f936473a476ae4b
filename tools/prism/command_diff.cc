// What differs between two volumes or snapshots.
#include <fmt/format.h>

#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct DiffOptions {
  std::string a, b;
  bool stat = false;
  bool content = false;
};

// One letter as `git status` and `zfs diff` have them.
char LetterOf(const json& change) {
  const std::string kind = TextIn(change, "change");
  if (kind == "added") return '+';
  if (kind == "removed") return '-';
  if (kind == "renamed") return 'R';
  return FlagIn(change, "data") ? 'M' : 'm';
}

std::string LineOf(const json& change) {
  std::string line = fmt::format("{} ", LetterOf(change));
  if (const std::string from = TextIn(change, "from"); !from.empty())
    line += Printable(from) + " -> ";
  line += Printable(TextIn(change, "path"));
  if (TextIn(change, "type") == "directory" && line.back() != '/') line += '/';
  if (TextIn(change, "change") == "renamed" && FlagIn(change, "data")) line += " (changed)";
  if (!FlagIn(change, "data")) return line + "\n";
  if (NumberIn(change, "old_size") != NumberIn(change, "new_size"))
    line += fmt::format(" ({} -> {})", Bytes(NumberIn(change, "old_size")),
                        Bytes(NumberIn(change, "new_size")));
  for (const json& range : change.value("ranges", json::array()))
    if (range.is_array() && range.size() == 2 && range[0].is_number() && range[1].is_number())
      line += fmt::format("\n    {}+{}", range[0].get<uint64_t>(), range[1].get<uint64_t>());
  return line + "\n";
}

Outcome<CommandResult> Diff(const CommonOptions& common, const DiffOptions& options) {
  json request = {{"a", options.a}, {"b", options.b}};
  if (options.stat) request["max"] = 0;
  if (options.content) request["content"] = true;
  PRISM_ASSIGN(Reply reply, Ask(common, "diff", std::move(request)));
  std::string text;
  for (const json& change : reply.result.value("changes", json::array())) text += LineOf(change);
  const bool truncated = FlagIn(reply.result, "truncated") && !options.stat;
  if (truncated) text += "... and more: --stat counts them all\n";
  if (options.stat)
    text = fmt::format(
        "{} added, {} removed, {} renamed, {} changed in data, {} in attributes only\n",
        Count(NumberIn(reply.result, "added")), Count(NumberIn(reply.result, "removed")),
        Count(NumberIn(reply.result, "renamed")), Count(NumberIn(reply.result, "changed_data")),
        Count(NumberIn(reply.result, "changed_attributes")));
  CommandResult result = ResultOf(reply, std::move(text));
  result.warnings = truncated;
  return result;
}

}  // namespace

void AddDiffVerb(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<DiffOptions>();
  CLI::App* diff = app.add_subcommand(
      "diff",
      "what differs between two volumes or snapshots: + added, - removed, R renamed, M "
      "changed, m changed in attributes only");
  diff->add_option("A", options->a)->required();
  diff->add_option("B", options->b)->required();
  diff->add_flag("--stat", options->stat, "only how many");
  diff->add_flag("--content", options->content,
                 "compare bytes, and say which differ: OFFSET+LENGTH");
  diff->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Diff(common, *options); };
  });
}

}  // namespace prism::tool
