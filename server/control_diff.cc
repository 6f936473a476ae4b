#include "server/control_diff.h"

#include "server/control_verbs.h"

namespace prism::server {
namespace {

using nlohmann::json;

constexpr uint64_t kListedMax = 1'000'000;

const char* NameOf(fs::FileChange::Kind kind) {
  switch (kind) {
    case fs::FileChange::Kind::kAdded:
      return "added";
    case fs::FileChange::Kind::kRemoved:
      return "removed";
    case fs::FileChange::Kind::kRenamed:
      return "renamed";
    case fs::FileChange::Kind::kChanged:
      return "changed";
  }
  return "";
}

const char* NameOf(fs::FileType type) {
  switch (type) {
    case fs::FileType::kRegular:
      return "file";
    case fs::FileType::kDirectory:
      return "directory";
    case fs::FileType::kSymlink:
      return "symlink";
    default:
      return "special";
  }
}

json Describe(const fs::FileChange& change, bool content) {
  json result = {
      {"change", NameOf(change.kind)}, {"path", change.path}, {"type", NameOf(change.type)}};
  if (change.kind == fs::FileChange::Kind::kRenamed) result["from"] = change.from;
  if (change.kind == fs::FileChange::Kind::kAdded || change.kind == fs::FileChange::Kind::kRemoved)
    return result;
  result["data"] = change.data;
  result["attributes"] = change.attributes;
  if (!change.data) return result;
  result["old_size"] = change.old_size;
  result["new_size"] = change.new_size;
  if (!content) return result;
  json ranges = json::array();
  for (const fs::DataRange& range : change.ranges) ranges.push_back({range.offset, range.length});
  result["ranges"] = std::move(ranges);
  return result;
}

}  // namespace

Outcome<json> Diff(ControlContext& context, const json& request) {
  fs::DiffOptions options;
  options.content = Flag(request, "content");
  if (request.contains("max")) options.changes_max = std::min(Number(request, "max"), kListedMax);
  PRISM_ASSIGN(const fs::DiffResult diff,
               context.host.Diff(Text(request, "a"), Text(request, "b"), options));
  json changes = json::array();
  for (const fs::FileChange& change : diff.changes)
    changes.push_back(Describe(change, options.content));
  return json{{"changes", std::move(changes)},
              {"truncated", diff.truncated},
              {"added", diff.added},
              {"removed", diff.removed},
              {"renamed", diff.renamed},
              {"changed_data", diff.changed_data},
              {"changed_attributes", diff.changed_attributes},
              {"nodes_visited", diff.nodes_visited}};
}

}  // namespace prism::server
