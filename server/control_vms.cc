#include "server/control_vms.h"

#include <array>
#include <map>
#include <optional>

#include "server/control_verbs.h"
#include "server/lane_report.h"

namespace prism::server {
namespace {

using nlohmann::json;

json Describe(const VmInfo& vm) {
  return {{"name", vm.name},
          {"uid", vm.uid},
          {"socket", vm.socket_path},
          {"lanes", vm.lanes},
          {"queues", vm.queues},
          {"payload_bytes", vm.payload_bytes},
          {"vectors", vm.vectors},
          {"segment_bytes", vm.segment_bytes},
          {"volumes", vm.volumes},
          {"pid", vm.pid},
          {"process", ProcessName(vm.pid)}};
}

Outcome<VmPorts*> Vms(ControlContext& context) {
  if (!context.vms) return Explain(Err::kNotSupported, "this server attaches no machines");
  return context.vms;
}

Outcome<std::optional<uint32_t>> SmallNumber(const json& request, const char* field) {
  if (!request.contains(field)) return std::optional<uint32_t>();
  const uint64_t value = Number(request, field);
  if (value > UINT32_MAX)
    return Explain(Err::kInvalid, "\"{}\" must be a whole number from 0 to {}", field, UINT32_MAX);
  return std::optional(static_cast<uint32_t>(value));
}

Outcome<json> Attach(ControlContext& context, const json& request) {
  PRISM_ASSIGN(VmPorts* const vms, Vms(context));
  VmRequest wanted{.vm = Text(request, "vm"), .volumes = Texts(request, "volumes")};
  PRISM_ASSIGN(wanted.uid, SmallNumber(request, "uid"));
  PRISM_ASSIGN(wanted.lanes, SmallNumber(request, "lanes"));
  PRISM_ASSIGN(wanted.queues, SmallNumber(request, "queues"));
  PRISM_ASSIGN(wanted.payload_bytes, SmallNumber(request, "payload_bytes"));
  PRISM_ASSIGN(const VmInfo vm, vms->Attach(wanted));
  return Describe(vm);
}

Outcome<json> Detach(ControlContext& context, const json& request) {
  PRISM_ASSIGN(VmPorts* const vms, Vms(context));
  const std::string vm = Text(request, "vm");
  PRISM_TRY(vms->Detach(vm, Texts(request, "volumes")));
  return json{{"vm", vm}};
}

Outcome<json> ListVms(ControlContext& context, const json&) {
  json result = json::array();
  if (context.vms)
    for (const VmInfo& vm : context.vms->List()) result.push_back(Describe(vm));
  return result;
}

Outcome<json> Lanes(ControlContext& context, const json&) {
  return context.describe_lanes ? context.describe_lanes() : json::array();
}

Outcome<json> List(ControlContext& context, const json&) {
  const auto vms = VmsByVolume(context);
  json result = json::array();
  for (const fs::VolumeInfo& volume : context.host.List()) {
    result.push_back(server::Describe(volume));
    if (auto found = vms.find(volume.name); found != vms.end())
      result.back()["vms"] = found->second;
  }
  return result;
}

}  // namespace

std::map<std::string, std::vector<std::string>> VmsByVolume(const ControlContext& context) {
  std::map<std::string, std::vector<std::string>> vms;
  if (!context.vms) return vms;
  for (const VmInfo& vm : context.vms->List())
    for (const std::string& volume : vm.volumes) vms[volume].push_back(vm.name);
  return vms;
}

std::span<const ContextVerb> VmVerbs() {
  static constexpr std::array kVerbs = {
      ContextVerb{"list", {}, List},
      ContextVerb{"lanes", {}, Lanes},
      ContextVerb{"attach",
                  {{{"vm"},
                    {"volumes", FieldType::kTexts},
                    {"uid", FieldType::kNumber, false},
                    {"lanes", FieldType::kNumber, false},
                    {"queues", FieldType::kNumber, false},
                    {"payload_bytes", FieldType::kNumber, false}}},
                  Attach},
      ContextVerb{"detach", {{{"vm"}, {"volumes", FieldType::kTexts, false}}}, Detach},
      ContextVerb{"vms", {}, ListVms},
  };
  return kVerbs;
}

}  // namespace prism::server
