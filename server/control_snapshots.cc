#include "server/control_snapshots.h"

#include "server/control_verbs.h"

namespace prism::server {
namespace {

using nlohmann::json;

Outcome<json> Clone(ControlContext& context, const json& request) {
  PRISM_ASSIGN(std::vector<fs::VolumeInfo> clones,
               context.host.Clone(Text(request, "source"), Texts(request, "targets")));
  return Describe(clones);
}

Outcome<json> Snapshot(ControlContext& context, const json& request) {
  PRISM_ASSIGN(std::vector<fs::VolumeInfo> snapshots,
               context.host.Snapshot(Texts(request, "names"),
                                     static_cast<int64_t>(Number(request, "ttl_sec"))));
  return Describe(snapshots);
}

Outcome<json> Rollback(ControlContext& context, const json& request) {
  PRISM_ASSIGN(fs::VolumeInfo volume, context.host.Rollback(Text(request, "name")));
  return Describe(volume);
}

Outcome<json> Hold(ControlContext& context, const json& request) {
  PRISM_ASSIGN(fs::VolumeInfo volume,
               context.host.Hold(Text(request, "name"), Text(request, "tag")));
  return Describe(volume);
}

Outcome<json> Release(ControlContext& context, const json& request) {
  PRISM_ASSIGN(fs::VolumeInfo volume,
               context.host.Release(Text(request, "name"), Text(request, "tag")));
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
  PRISM_TRY(context.host.Destroy(names, recursive));
  return json{{"destroyed", names.size()}};
}

}  // namespace

std::span<const ContextVerb> SnapshotVerbs() {
  using enum FieldType;
  static constexpr std::array kVerbs = {
      ContextVerb{"clone", {{{"source"}, {"targets", kTexts}}}, Clone},
      ContextVerb{"snapshot", {{{"names", kTexts}, {"ttl_sec", kNumber, false}}}, Snapshot},
      ContextVerb{"rollback", {{{"name"}}}, Rollback},
      ContextVerb{"hold", {{{"name"}, {"tag"}}}, Hold},
      ContextVerb{"release", {{{"name"}, {"tag"}}}, Release},
      ContextVerb{"destroy",
                  {{{"names", kTexts}, {"recursive", kFlag, false}, {"dry_run", kFlag, false}}},
                  Destroy},
  };
  return kVerbs;
}

}  // namespace prism::server
