// The verb `quota`, and what of a quota other verbs take.
#pragma once

#include "server/control_fields.h"

namespace prism::server {

// Of the fields "<prefix>bytes", "<prefix>inodes" and "<prefix>exclusive", those that are there.
cow::QuotaChange QuotaIn(const nlohmann::json& request, const std::string& prefix);

Outcome<nlohmann::json> Quota(ControlContext& context, const nlohmann::json& request);

}  // namespace prism::server
