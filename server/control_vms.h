// The verbs of virtual machines and lanes: attach, detach, vms, lanes; and list, which tells of
// them.
#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "server/control_fields.h"

namespace prism::server {

std::span<const ContextVerb> VmVerbs();

// The machines by the names of their volumes.
std::map<std::string, std::vector<std::string>> VmsByVolume(const ControlContext& context);

}  // namespace prism::server
