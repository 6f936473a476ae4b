// Putting the changes of volumes upon others: rebase, merge.
#include <fmt/format.h>

#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/name_range.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct MergeArguments {
  std::vector<std::string> names;
  std::string target, from, keep, on_conflict, request_key;
  bool dry_run = false;
};

std::string TextOf(const json& report, bool dry_run) {
  const bool done = FlagIn(report, "done");
  std::string text;
  for (const json& conflict : report.value("conflicts", json::array()))
    text += fmt::format("C {}: {} here, {} there\n", Printable(TextIn(conflict, "path")),
                        Printable(TextIn(conflict, "mine")), Printable(TextIn(conflict, "theirs")));
  const std::string name = Printable(TextIn(report, "name"));
  const std::string kept = Printable(TextIn(report, "kept"));
  text += fmt::format("{}: {} added, {} removed, {} renamed, {} changed, {} conflicts; ", name,
                      Count(NumberIn(report, "added")), Count(NumberIn(report, "removed")),
                      Count(NumberIn(report, "renamed")), Count(NumberIn(report, "changed")),
                      Count(NumberIn(report, "conflict_count")));
  if (!kept.empty()) return text + fmt::format("`prism rollback {}` undoes it\n", kept);
  if (done) return text + "it was done already\n";
  return text + (dry_run ? "nothing was done, as asked\n" : "nothing was done\n");
}

Outcome<CommandResult> Run(const CommonOptions& common, const MergeArguments& arguments,
                           const char* verb, json request) {
  if (!arguments.from.empty()) request["from"] = arguments.from;
  if (!arguments.keep.empty()) request["keep"] = arguments.keep;
  if (!arguments.on_conflict.empty()) request["on_conflict"] = arguments.on_conflict;
  if (!arguments.request_key.empty()) request["request_key"] = arguments.request_key;
  if (arguments.dry_run) request["dry_run"] = true;
  PRISM_ASSIGN(Reply reply, Ask(common, verb, std::move(request)));
  const json reports = reply.result.is_array() ? reply.result : json::array({reply.result});
  std::string text;
  bool failed = false;
  for (const json& report : reports) {
    text += TextOf(report, arguments.dry_run);
    failed = failed || (!arguments.dry_run && !FlagIn(report, "done")) ||
             (arguments.dry_run && arguments.on_conflict.empty() &&
              NumberIn(report, "conflict_count") > 0);
  }
  CommandResult result = ResultOf(reply, std::move(text));
  if (failed) result.exit_code = kExitFailed;
  return result;
}

Outcome<CommandResult> Rebase(const CommonOptions& common, const MergeArguments& arguments) {
  PRISM_ASSIGN(const std::vector<std::string> names, ExpandNames(arguments.names));
  return Run(common, arguments, "rebase", {{"names", names}, {"onto", arguments.target}});
}

Outcome<CommandResult> Merge(const CommonOptions& common, const MergeArguments& arguments) {
  return Run(common, arguments, "merge",
             {{"child", arguments.names.front()}, {"into", arguments.target}});
}

}  // namespace

void AddMergeVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto arguments = std::make_shared<MergeArguments>();
  auto add = [&](const char* verb, const char* help, auto run) {
    CLI::App* sub = app.add_subcommand(verb, help);
    sub->callback([&chosen, &common, arguments, run] {
      chosen = [&common, arguments, run] { return run(common, *arguments); };
    });
    return sub;
  };
  CLI::App* rebase =
      add("rebase", "put volumes upon another base, each with its own changes", Rebase);
  rebase->add_option("NAME", arguments->names, "in use or not; NAME{1..9} names nine")->required();
  rebase->add_option("--onto", arguments->target, "the new base: NAME@LABEL, or a volume as it is")
      ->required();
  CLI::App* merge =
      add("merge", "put a clone's changes into the volume that it was made from", Merge);
  merge->add_option("CHILD", arguments->names, "stays as it is")->required()->expected(1);
  merge->add_option("--into", arguments->target, "a volume, in use or not")->required();
  for (CLI::App* verb : {rebase, merge}) {
    verb->add_option("--from", arguments->from,
                     "count the changes from this snapshot, not from the last common one");
    verb->add_option("--on-conflict", arguments->on_conflict,
                     "whose file it is that both have changed: mine (of NAME, CHILD) or theirs; "
                     "otherwise nothing is done")
        ->check(CLI::IsMember({"mine", "theirs", "stop"}));
    verb->add_option("--keep", arguments->keep, "label of the snapshot of what was before");
    verb->add_flag("-n,--dry-run", arguments->dry_run, "only say what it would do");
    verb->add_option("--request-key", arguments->request_key,
                     "a name for this request: done once, however often it is repeated");
  }
}

}  // namespace prism::tool
