// The verbs of clones that are given something at their birth, and of volumes that are sealed.
#pragma once

#include <span>

#include "server/control_fields.h"

namespace prism::server {

Outcome<nlohmann::json> Clone(ControlContext& context, const nlohmann::json& request);
std::span<const ContextVerb> BirthVerbs();

}  // namespace prism::server
