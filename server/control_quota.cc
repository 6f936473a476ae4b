#include "server/control_quota.h"

#include "server/control_verbs.h"

namespace prism::server {

using nlohmann::json;

cow::QuotaChange QuotaIn(const json& request, const std::string& prefix) {
  cow::QuotaChange change;
  auto number = [&](const char* name) -> std::optional<uint64_t> {
    const std::string field = prefix + name;
    if (!request.contains(field)) return std::nullopt;
    return Number(request, field.c_str());
  };
  change.bytes = number("bytes");
  change.inodes = number("inodes");
  const std::string exclusive = prefix + "exclusive";
  if (request.contains(exclusive)) change.exclusive = Flag(request, exclusive.c_str());
  return change;
}

Outcome<json> Quota(ControlContext& context, const json& request) {
  const std::string name = Text(request, "name");
  const cow::QuotaChange change = QuotaIn(request, "");
  const bool changes = change.bytes || change.inodes || change.exclusive;
  PRISM_ASSIGN(const fs::VolumeInfo volume,
               changes ? context.host.SetQuota(name, change, Text(request, "request_key"))
                       : context.host.Show(name));
  return json{{"name", volume.name},
              {"bytes", volume.quota.bytes},
              {"inodes", volume.quota.inodes},
              {"exclusive", volume.quota.exclusive},
              {"used_bytes", volume.charged_bytes},
              {"used_inodes", volume.inodes},
              {"counted", !volume.uncounted}};
}

}  // namespace prism::server
