// Clones and snapshots: making them, going back to them, keeping them, and letting them go.
#include <fmt/format.h>

#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/name_range.h"
#include "tools/prism/size.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct CloneOptions {
  std::string name, tag, ttl, path, request_key, quota_bytes, quota_inodes, identity_rules;
  bool quota_exclusive = false;
  bool quota_whole = false;
  std::vector<std::string> names;
  bool identity = false;
  bool barrier = false;
  uint32_t barrier_ms = 5000;
  bool recursive = false;
  bool dry_run = false;
};

std::string Listed(const std::vector<std::string>& names, const char* kind) {
  if (names.size() <= 5) return fmt::format("{}", fmt::join(names, ", "));
  return fmt::format("{} {}", Count(names.size()), kind);
}

Outcome<Reply> AskNamed(const CommonOptions& common, const CloneOptions& options,
                        std::string_view verb, json request) {
  return Ask(common, verb, Keyed(std::move(request), options.request_key));
}

// What a barrier has come to, for people.
std::string ConsistencyOf(const json& clone) {
  const std::string reason = TextIn(clone, "reason");
  if (reason.empty()) return "with all that its users had written: barrier\n";
  return fmt::format("crash-consistent, as after a power cut of its users: {}\n",
                     Printable(reason));
}

Outcome<CommandResult> Clone(const CommonOptions& common, const CloneOptions& options) {
  PRISM_ASSIGN(const std::vector<std::string> targets, ExpandNames(options.names));
  json request = {{"source", options.name}, {"targets", targets}};
  if (!options.quota_bytes.empty()) {
    PRISM_ASSIGN(request["quota_bytes"], ParseBound(options.quota_bytes));
  }
  if (!options.quota_inodes.empty()) {
    PRISM_ASSIGN(request["quota_inodes"], ParseBound(options.quota_inodes));
  }
  if (options.quota_exclusive || options.quota_whole)
    request["quota_exclusive"] = options.quota_exclusive;
  if (!options.identity_rules.empty()) {
    PRISM_ASSIGN(request["identity"], ReadRules(options.identity_rules));
  } else if (options.identity) {
    request["identity"] = "";
  }
  if (options.barrier) request["barrier_ms"] = options.barrier_ms;
  PRISM_ASSIGN(Reply reply, AskNamed(common, options, "clone", std::move(request)));
  std::string text =
      fmt::format("cloned {} to {} {}\n", options.name, Listed(targets, "volumes"), Took(reply));
  if (options.barrier && reply.result.is_array() && !reply.result.empty())
    text += ConsistencyOf(reply.result.front());
  return ResultOf(reply, std::move(text));
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
  PRISM_ASSIGN(Reply reply,
               AskNamed(common, options, verb, {{"name", options.name}, {"tag", options.tag}}));
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
  clone->add_option("--quota-bytes", options->quota_bytes,
                    "what each may grow to: 20G, or none; else as the source");
  clone->add_option("--quota-inodes", options->quota_inodes, "1M, or none; else as the source");
  CLI::Option* exclusive = clone->add_flag("--quota-exclusive", options->quota_exclusive,
                                           "the bytes are of what comes from now on");
  clone->add_flag("--quota-whole", options->quota_whole, "the bytes are of all that it holds")
      ->excludes(exclusive);

  clone->add_flag("--identity", options->identity,
                  "each clone gets its own: machine id, host name, SSH host keys, ... "
                  "(prism rules identity)");
  clone->add_option("--identity-rules", options->identity_rules, "the same by the rules in a file");
  CLI::Option* barrier = clone->add_flag("--barrier", options->barrier,
                                         "ask the mounts of SOURCE to write what they hold first");
  clone->add_option("--barrier-timeout", options->barrier_ms, "milliseconds to wait for them")
      ->needs(barrier)
      ->check(CLI::Range(0u, 600000u))
      ->capture_default_str();

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
    AddRequestKey(*keep, options->request_key);
  }

  CLI::App* destroy =
      add("destroy", "remove volumes and snapshots at once, in use or not", Destroy);
  destroy->add_option("NAME", options->names, fmt::format("all are removed, or none; {}", kRanges))
      ->required();
  destroy->add_flag("-r,--recursive", options->recursive, "with their snapshots");
  destroy->add_flag("-n,--dry-run", options->dry_run, "only say what it would free");

  for (CLI::App* verb : {clone, snapshot, rollback, destroy})
    AddRequestKey(*verb, options->request_key);
}

}  // namespace prism::tool
