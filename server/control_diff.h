// The verb `diff`.
#pragma once

#include "server/control_fields.h"

namespace prism::server {

Outcome<nlohmann::json> Diff(ControlContext& context, const nlohmann::json& request);

}  // namespace prism::server
