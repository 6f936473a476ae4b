// The verbs of virtual machines and lanes: attach, detach, vms, lanes; and list, which tells of them.
#pragma once

#include <span>

#include "server/control_fields.h"

namespace prism::server {

std::span<const ContextVerb> VmVerbs();

}  // namespace prism::server
