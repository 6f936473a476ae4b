// What the control plane says of lanes.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "vrpc/server.h"

namespace prism::server {

// The port for clients of this host, any volume. Not the name of a machine.
inline constexpr const char* kHostPort = ".host";

// An array: PROTOCOL.md, "lanes".
nlohmann::json DescribeLanes(const std::vector<vrpc::LaneInfo>& lanes);

}  // namespace prism::server
