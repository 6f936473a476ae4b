// Clones and snapshots: making them, going back to them, keeping them, and letting them go.
#include <fmt/format.h>

#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/name_range.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct CloneOptions {
  std::string name, tag, ttl, path, request_key;
  std::vector<std::string> names;
  bool recursive = false;
  bool dry_run = false;
};

std::string Listed(const std::vector<std::string>& names, const char* kind) {
  if (names.size() <= 5) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} {}", Count(names.size()), kind);
}

Outcome<Reply> AskNamed(const CommonOptions& common, const CloneOptions& options,
                        std::string_view verb, json request) {
  if (!options.request_key.empty()) request["request_key"] = options.request_key;
  return Ask(common, verb, std::move(request));
}

Outcome<CommandResult> Clone(const CommonOptions& common, const CloneOptions& options) {
  PRISM_ASSIGN(const std::vector<std::string> targets, ExpandNames(options.names));
  PRISM_ASSIGN(Reply reply, AskNamed(common, options, "clone",
                                     {{"source", options.name}, {"targets", targets}}));
  return ResultOf(reply, fmt::format("cloned {} to {} {}\n", options.name,
                                     Listed(targets, "volumes"), Took(reply)));
}

Outcome<CommandResult> Snapshot(const CommonOptions& common, const CloneOptions& options) {
  PRISM_ASSIGN(const std::vector<std::string> names, ExpandNames(options.names));
  json request = {{"names", names}};
  if (!options.ttl.empty()) {
    PRISM_ASSIGN(request["ttl_sec"], ParseDuration(options.ttl));
  }
  PRISM_ASSIGN(Reply reply, AskNamed(common, options, "snapshot", std::move(request)));
  return ResultOf(reply, fmt::format("made {} {}\n", Listed(names, "snapshots"), Took(reply)));
}

Outcome<CommandResult> Rollback(const CommonOptions& common, const CloneOptions& options) {
  json request = {{"name", options.name}};
  if (!options.path.empty()) request["path"] = options.path;
  PRISM_ASSIGN(Reply reply, AskNamed(common, options, "rollback", std::move(request)));
  if (!options.path.empty())
    return ResultOf(reply, fmt::format("{} is again as in {}; `prism rollback {}` undoes it {}\n",
                                       Printable(options.path), options.name,
                                       Printable(TextIn(reply.result, "kept")), Took(reply)));
  return ResultOf(reply,
                  fmt::format("{} is again as in {} {}\n", Printable(TextIn(reply.result, "name")),
                              options.name, Took(reply)));
}

Outcome<CommandResult> Keep(const CommonOptions& common, const CloneOptions& options,
                            const char* verb) {
  PRISM_ASSIGN(Reply reply, Ask(common, verb, {{"name", options.name}, {"tag", options.tag}}));
  const size_t holds = reply.result.value("holds", json::array()).size();
  return ResultOf(reply, fmt::format("{} has {} hold(s)\n", options.name, holds));
}

Outcome<CommandResult> Destroy(const CommonOptions& common, const CloneOptions& options) {
  PRISM_ASSIGN(const std::vector<std::string> names, ExpandNames(options.names));
  json request = {{"names", names}};
  if (options.recursive) request["recursive"] = true;
  if (options.dry_run) request["dry_run"] = true;
  PRISM_ASSIGN(Reply reply, AskNamed(common, options, "destroy", std::move(request)));
  if (options.dry_run)
    return ResultOf(reply, fmt::format("would destroy {} and free {} (of that, metadata: {})\n",
                                       Count(NumberIn(reply.result, "would_destroy")),
                                       Bytes(NumberIn(reply.result, "bytes")),
                                       Bytes(NumberIn(reply.result, "metadata_bytes"))));
  return ResultOf(reply, fmt::format("destroyed {} {}; the space comes back in the background\n",
                                     Listed(names, "volumes"), Took(reply)));
}

}  // namespace

void AddCloneVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<CloneOptions>();
  auto add = [&](const char* verb, const char* help, auto run) {
    CLI::App* sub = app.add_subcommand(verb, help);
    sub->callback([&chosen, &common, options, run] {
      chosen = [&common, options, run] { return run(common, *options); };
    });
    return sub;
  };
  constexpr const char* kRanges = "NAME{1..9} names nine";

  CLI::App* clone =
      add("clone", "copy a volume, as it is at this instant, to one or more new ones", Clone);
  clone->add_option("SOURCE", options->name, "a volume, which may be in use, or NAME@LABEL")
      ->required();
  clone->add_option("TARGET", options->names, fmt::format("all are made, or none; {}", kRanges))
      ->required();

  CLI::App* snapshot =
      add("snapshot", "keep volumes as they are at this instant, read-only", Snapshot);
  snapshot->add_option("NAME@LABEL", options->names, "all at one instant, or none")->required();
  snapshot->add_option("--ttl", options->ttl, "how long to keep it: 12h, 7d, 2w");

  CLI::App* rollback =
      add("rollback", "make a volume what its snapshot is, in use or not", Rollback);
  rollback->add_option("NAME@LABEL", options->name, "what was written since is lost")->required();
  rollback->add_option("--path", options->path,
                       "only this file or directory, from the volume's root: /etc/ssh");

  for (const char* verb : {"hold", "release"}) {
    const bool hold = std::string_view(verb) == "hold";
    CLI::App* keep = add(
        verb,
        hold ? "keep a snapshot or volume from being destroyed, or expiring" : "take a hold away",
        [verb](auto& c, auto& o) { return Keep(c, o, verb); });
    keep->add_option("NAME", options->name, "NAME@LABEL, or a volume")->required();
    keep->add_option("TAG", options->tag, "who holds it, or why")->required();
  }

  CLI::App* destroy =
      add("destroy", "remove volumes and snapshots at once, in use or not", Destroy);
  destroy->add_option("NAME", options->names, fmt::format("all are removed, or none; {}", kRanges))
      ->required();
  destroy->add_flag("-r,--recursive", options->recursive, "with their snapshots");
  destroy->add_flag("-n,--dry-run", options->dry_run, "only say what it would free");

  for (CLI::App* verb : {clone, snapshot, rollback, destroy})
    verb->add_option("--request-key", options->request_key,
                     "a name for this request: done once, however often it is repeated");
}

}  // namespace prism::tool
