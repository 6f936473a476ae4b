#include "server/control_merge.h"

#include "server/control_verbs.h"

namespace prism::server {
namespace {

using nlohmann::json;

Outcome<fs::MergeOptions> OptionsOf(const json& request) {
  fs::MergeOptions options;
  options.dry_run = Flag(request, "dry_run");
  options.from = Text(request, "from");
  options.keep = Text(request, "keep");
  const std::string on_conflict = Text(request, "on_conflict");
  if (on_conflict == "mine")
    options.on_conflict = fs::OnConflict::kMine;
  else if (on_conflict == "theirs")
    options.on_conflict = fs::OnConflict::kTheirs;
  else if (!on_conflict.empty() && on_conflict != "stop")
    return Explain(Err::kInvalid, "on_conflict is stop, mine or theirs");
  return options;
}

json Describe(const fs::MergeReport& report) {
  json conflicts = json::array();
  for (const fs::MergeConflict& conflict : report.conflicts)
    conflicts.push_back(
        {{"path", conflict.path}, {"mine", conflict.mine}, {"theirs", conflict.theirs}});
  return {{"name", report.volume},
          {"done", report.done},
          {"from", report.from},
          {"kept", report.kept},
          {"added", report.added},
          {"removed", report.removed},
          {"renamed", report.renamed},
          {"changed", report.changed},
          {"conflicts", std::move(conflicts)},
          {"conflict_count", report.conflict_count}};
}

}  // namespace

Outcome<json> Rebase(ControlContext& context, const json& request) {
  PRISM_ASSIGN(const fs::MergeOptions options, OptionsOf(request));
  PRISM_ASSIGN(const std::vector<fs::MergeReport> reports,
               context.host.Rebase(Texts(request, "names"), Text(request, "onto"), options,
                                   Text(request, "request_key")));
  json result = json::array();
  for (const fs::MergeReport& report : reports) result.push_back(Describe(report));
  return result;
}

Outcome<json> Merge(ControlContext& context, const json& request) {
  PRISM_ASSIGN(const fs::MergeOptions options, OptionsOf(request));
  PRISM_ASSIGN(const fs::MergeReport report,
               context.host.Merge(Text(request, "child"), Text(request, "into"), options,
                                  Text(request, "request_key")));
  return Describe(report);
}

Outcome<json> RollbackPath(ControlContext& context, const json& request) {
  PRISM_ASSIGN(const fs::MergeReport report,
               context.host.RollbackPath(Text(request, "name"), Text(request, "path"),
                                         Text(request, "request_key")));
  return Describe(report);
}

}  // namespace prism::server
