// The verbs of clones and snapshots.
#pragma once

#include <span>

#include "server/control_fields.h"

namespace prism::server {

std::span<const ContextVerb> SnapshotVerbs();

}  // namespace prism::server
