#include "server/control_snapshots.h"

#include "server/control_birth.h"
#include "server/control_diff.h"
#include "server/control_fsck.h"
#include "server/control_merge.h"
#include "server/control_quota.h"
#include "server/control_verbs.h"

namespace prism::server {
namespace {

using nlohmann::json;

Outcome<json> Snapshot(ControlContext& context, const json& request) {
  PRISM_ASSIGN(std::vector<fs::VolumeInfo> snapshots,
               context.host.Snapshot(Texts(request, "names"),
                                     static_cast<int64_t>(Number(request, "ttl_sec")),
                                     Text(request, "request_key")));
  return Describe(snapshots);
}

Outcome<json> Rollback(ControlContext& context, const json& request) {
  if (request.contains("path")) return RollbackPath(context, request);
  PRISM_ASSIGN(fs::VolumeInfo volume,
               context.host.Rollback(Text(request, "name"), Text(request, "request_key")));
  return Describe(volume);
}

Outcome<json> Hold(ControlContext& context, const json& request) {
  PRISM_ASSIGN(fs::VolumeInfo volume, context.host.Hold(Text(request, "name"), Text(request, "tag"),
                                                        Text(request, "request_key")));
  return Describe(volume);
}

Outcome<json> Release(ControlContext& context, const json& request) {
  PRISM_ASSIGN(fs::VolumeInfo volume,
               context.host.Release(Text(request, "name"), Text(request, "tag"),
                                    Text(request, "request_key")));
  return Describe(volume);
}

Outcome<json> Destroy(ControlContext& context, const json& request) {
  const std::vector<std::string> names = Texts(request, "names");
  const bool recursive = Flag(request, "recursive");
  if (Flag(request, "dry_run")) {
    PRISM_ASSIGN(fs::ExclusiveUsage usage, context.host.WouldFree(names, recursive));
    return json{{"would_destroy", usage.volumes},
                {"bytes", usage.bytes},
                {"metadata_bytes", usage.metadata_bytes}};
  }
  PRISM_TRY(context.host.Destroy(names, recursive, Text(request, "request_key")));
  return json{{"destroyed", names.size()}};
}

Outcome<json> Du(ControlContext& context, const json& request) {
  std::vector<fs::VolumeInfo> volumes;
  for (const std::string& name : Texts(request, "names")) {
    PRISM_ASSIGN(fs::VolumeInfo volume, context.host.Show(name));
    volumes.push_back(std::move(volume));
  }
  const bool all = volumes.empty();
  if (all) volumes = context.host.List();
  json result = json::array();
  for (const fs::VolumeInfo& volume : volumes) {
    const Outcome<fs::ExclusiveUsage> usage = context.host.Exclusive(volume.name);
    // Among all, one that has just gone is none.
    if (!usage && all && usage.error().code == Err::kNoEntry) continue;
    if (!usage) return tl::unexpected(usage.error());
    result.push_back({{"name", volume.name},
                      {"inodes", usage->all_inodes},
                      {"exclusive_inodes", usage->inodes},
                      {"logical_bytes", usage->logical_bytes},
                      {"referenced_bytes", usage->referenced_bytes},
                      {"shared_bytes", usage->referenced_bytes - usage->bytes},
                      {"exclusive_bytes", usage->bytes},
                      {"exclusive_metadata_bytes", usage->metadata_bytes},
                      {"counted", !usage->uncounted}});
  }
  return result;
}

}  // namespace

std::span<const ContextVerb> SnapshotVerbs() {
  using enum FieldType;
  static constexpr Field kKey{"request_key", kText, false};
  static constexpr std::array kVerbs = {
      ContextVerb{"clone",
                  {{{"source"},
                    {"targets", kTexts},
                    {"identity", kRules, false},
                    {"barrier_ms", kNumber, false},
                    {"quota_bytes", kNumber, false},
                    {"quota_inodes", kNumber, false},
                    {"quota_exclusive", kFlag, false},
                    kKey}},
                  Clone},
      ContextVerb{"fsck", {{{"data", kFlag, false}}}, Fsck},
      ContextVerb{"quota",
                  {{{"name"},
                    {"bytes", kNumber, false},
                    {"inodes", kNumber, false},
                    {"exclusive", kFlag, false},
                    kKey}},
                  Quota},
      ContextVerb{"snapshot", {{{"names", kTexts}, {"ttl_sec", kNumber, false}, kKey}}, Snapshot},
      ContextVerb{"rollback", {{{"name"}, {"path", kText, false}, kKey}}, Rollback},
      ContextVerb{"rebase",
                  {{{"names", kTexts},
                    {"onto"},
                    {"from", kText, false},
                    {"keep", kText, false},
                    {"on_conflict", kText, false},
                    {"dry_run", kFlag, false},
                    kKey}},
                  Rebase},
      ContextVerb{"merge",
                  {{{"child"},
                    {"into"},
                    {"from", kText, false},
                    {"keep", kText, false},
                    {"on_conflict", kText, false},
                    {"dry_run", kFlag, false},
                    kKey}},
                  Merge},
      ContextVerb{"hold", {{{"name"}, {"tag"}, kKey}}, Hold},
      ContextVerb{"release", {{{"name"}, {"tag"}, kKey}}, Release},
      ContextVerb{
          "diff", {{{"a"}, {"b"}, {"content", kFlag, false}, {"max", kNumber, false}}}, Diff},
      ContextVerb{"du", {{{"names", kTexts, false}}}, Du},
      ContextVerb{
          "destroy",
          {{{"names", kTexts}, {"recursive", kFlag, false}, {"dry_run", kFlag, false}, kKey}},
          Destroy},
  };
  return kVerbs;
}

}  // namespace prism::server
