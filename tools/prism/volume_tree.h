// What was cloned from what, drawn.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace prism::tool {

// One line for each of `volumes`, which are as the control socket tells them. What has been
// destroyed is drawn as gone, by the name it had, above what was made from it.
std::string DrawTree(const nlohmann::json& volumes);

}  // namespace prism::tool
