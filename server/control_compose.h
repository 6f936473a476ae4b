// The verbs that compose volumes and explain their files.
#pragma once

#include <span>

#include "server/control_fields.h"

namespace prism::server {

std::span<const ContextVerb> ComposeVerbs();

}  // namespace prism::server
