#include "server/control_fsck.h"

#include "fs/core/check_report_json.h"
#include "server/control_verbs.h"

namespace prism::server {

using nlohmann::json;

Outcome<json> Fsck(ControlContext& context, const json& request) {
  PRISM_ASSIGN(const cow::CheckReport report, context.host.Check(Flag(request, "data")));
  return fs::JsonOf(report);
}

}  // namespace prism::server
