// The verb `fsck`.
#pragma once

#include "server/control_fields.h"

namespace prism::server {

Outcome<nlohmann::json> Fsck(ControlContext& context, const nlohmann::json& request);

}  // namespace prism::server
