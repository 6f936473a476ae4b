// What the control plane says of lanes.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "vrpc/server.h"

namespace prism::server {

// The port for clients of this host, any volume. Not the name of a machine.
inline constexpr const char* kHostPort = ".host";

// What the process calls itself; "" if it has ended. By now it may be another of that number.
std::string ProcessName(pid_t pid);

// An array: PROTOCOL.md, "lanes".
nlohmann::json DescribeLanes(const std::vector<vrpc::LaneInfo>& lanes);

}  // namespace prism::server
