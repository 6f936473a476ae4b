// The verbs `rebase` and `merge`, and `rollback` of a path.
#pragma once

#include "server/control_fields.h"

namespace prism::server {

Outcome<nlohmann::json> Rebase(ControlContext& context, const nlohmann::json& request);
Outcome<nlohmann::json> Merge(ControlContext& context, const nlohmann::json& request);
Outcome<nlohmann::json> RollbackPath(ControlContext& context, const nlohmann::json& request);

}  // namespace prism::server
