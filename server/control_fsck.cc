#include "server/control_fsck.h"

#include "server/control_verbs.h"

namespace prism::server {

using nlohmann::json;

Outcome<json> Fsck(ControlContext& context, const json& request) {
  PRISM_ASSIGN(const cow::CheckReport report, context.host.Check(Flag(request, "data")));
  return json{{"damage_count", report.damage_count},
              {"damages", report.damages},
              {"volumes", report.volumes},
              {"inodes", report.inodes},
              {"nodes", report.nodes},
              {"chunks", report.chunks},
              {"data_bytes", report.data_bytes}};
}

}  // namespace prism::server
