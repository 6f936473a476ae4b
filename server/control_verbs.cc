#include "server/control_verbs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <map>
#include <span>

#include "server/lane_report.h"

namespace prism::server {

using nlohmann::json;

namespace {

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

json Describe(const fs::VolumeInfo& volume) {
  return {{"id", volume.id},
          {"name", volume.name},
          {"parent", volume.parent},
          {"importing", volume.importing},
          {"created_sec", volume.created_sec},
          {"inodes", volume.inodes},
          {"logical_bytes", volume.logical_bytes},
          {"attached", volume.attached}};
}

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

// The machines by the names of their volumes.
std::map<std::string, std::vector<std::string>> VmsByVolume(const ControlContext& context) {
  std::map<std::string, std::vector<std::string>> vms;
  if (!context.vms) return vms;
  for (const VmInfo& vm : context.vms->List())
    for (const std::string& volume : vm.volumes) vms[volume].push_back(vm.name);
  return vms;
}

// How NFS clients find the volume; null: they cannot.
json DescribeNfs(const ControlContext& context, const std::string& name) {
  if (!context.exports || !context.nfs_address) return nullptr;
  const auto address = context.nfs_address();
  if (!address) return nullptr;
  const Outcome<std::string> access = context.exports->RulesOf(name);
  return {{"address", address->Text()},
          {"port", address->port},
          {"export", "/" + name},
          {"access", access ? *access : access.error().message}};
}

std::string Text(const json& request, const char* field) {
  return request.at(field).get<std::string>();
}

std::vector<std::string> Texts(const json& request, const char* field) {
  if (!request.contains(field)) return {};
  return request.at(field).get<std::vector<std::string>>();
}

std::optional<uint32_t> Number(const json& request, const char* field) {
  if (!request.contains(field)) return std::nullopt;
  return request.at(field).get<uint32_t>();
}

bool Flag(const json& request, const char* field) {
  return request.contains(field) && request.at(field).get<bool>();
}

}  // namespace

// The handlers. A request has been checked against its verb's fields before it comes here.
struct ControlVerbs {
  using Handler = Outcome<json> (*)(ControlSession&, const json&);

  enum class Type { kText, kTexts, kFlag, kNumber };
  struct Field {
    const char* name = nullptr;
    Type type = Type::kText;
    bool required = true;
  };
  struct Verb {
    std::string_view name;
    std::array<Field, 6> fields;
    Handler handler;
  };

  static Outcome<json> Ping(ControlSession& session, const json&) {
    return json{{"server", "prismd"}, {"protocol", 1}, {"vrpc", session.context_.vrpc_path}};
  }

  static Outcome<json> Create(ControlSession& session, const json& request) {
    const bool importing = Flag(request, "importing");
    PRISM_ASSIGN(fs::VolumeInfo volume,
                 session.context_.host.Create(Text(request, "name"), importing));
    if (importing) session.imports_.push_back(volume.id);
    return Describe(volume);
  }

  static Outcome<json> Publish(ControlSession& session, const json& request) {
    const std::string name = Text(request, "name");
    PRISM_ASSIGN(fs::VolumeInfo volume, session.context_.host.Show(name));
    auto mine = std::find(session.imports_.begin(), session.imports_.end(), volume.id);
    if (mine == session.imports_.end())
      return Explain(Err::kInvalid, "{} is not an import of this connection", name);
    PRISM_TRY(session.context_.host.Publish(name));
    session.imports_.erase(mine);
    PRISM_ASSIGN(volume, session.context_.host.Show(name));
    return Describe(volume);
  }

  static Outcome<json> Clone(ControlSession& session, const json& request) {
    PRISM_ASSIGN(std::vector<fs::VolumeInfo> clones,
                 session.context_.host.Clone(Text(request, "source"), Texts(request, "targets")));
    json result = json::array();
    for (const fs::VolumeInfo& clone : clones) result.push_back(Describe(clone));
    return result;
  }

  static Outcome<json> List(ControlSession& session, const json&) {
    const auto vms = VmsByVolume(session.context_);
    json result = json::array();
    for (const fs::VolumeInfo& volume : session.context_.host.List()) {
      result.push_back(Describe(volume));
      if (auto found = vms.find(volume.name); found != vms.end())
        result.back()["vms"] = found->second;
    }
    return result;
  }

  static Outcome<json> Show(ControlSession& session, const json& request) {
    PRISM_ASSIGN(fs::VolumeInfo volume, session.context_.host.Show(Text(request, "name")));
    json result = Describe(volume);
    const auto vms = VmsByVolume(session.context_);
    if (auto found = vms.find(volume.name); found != vms.end()) result["vms"] = found->second;
    if (auto nfs = DescribeNfs(session.context_, volume.name); !nfs.is_null()) result["nfs"] = nfs;
    if (Flag(request, "exclusive")) {
      PRISM_ASSIGN(fs::ExclusiveUsage usage, session.context_.host.Exclusive(volume.name));
      result["exclusive_bytes"] = usage.bytes;
      result["exclusive_metadata_bytes"] = usage.metadata_bytes;
    }
    return result;
  }

  static Outcome<json> Access(ControlSession& session, const json& request) {
    nfs3::Exports* exports = session.context_.exports;
    if (!exports) return Explain(Err::kNotSupported, "this server keeps no access rules");
    const std::string name = Text(request, "name");
    if (request.contains("rules")) PRISM_TRY(exports->SetRules(name, Text(request, "rules")));
    PRISM_ASSIGN(std::string rules, exports->RulesOf(name));
    return json{{"name", name}, {"access", rules}};
  }

  static Outcome<json> Destroy(ControlSession& session, const json& request) {
    const std::vector<std::string> names = Texts(request, "names");
    PRISM_TRY(session.context_.host.Destroy(names));
    return json{{"destroyed", names.size()}};
  }

  static Outcome<json> Rename(ControlSession& session, const json& request) {
    PRISM_TRY(session.context_.host.Rename(Text(request, "from"), Text(request, "to")));
    PRISM_ASSIGN(fs::VolumeInfo volume, session.context_.host.Show(Text(request, "to")));
    return Describe(volume);
  }

  static Outcome<json> Stat(ControlSession& session, const json&) {
    const fs::StoreStats stats = session.context_.host.Stats();
    return json{{"volumes", stats.volumes},
                {"logical_bytes", stats.logical_bytes},
                {"unique_bytes", stats.unique_bytes},
                {"stored_bytes", stats.stored_bytes},
                {"metadata_bytes", stats.metadata_bytes},
                {"chunks", stats.chunks},
                {"nodes", stats.nodes},
                {"journal_records", stats.journal_records},
                {"checkpoints", stats.checkpoints},
                {"free_bytes", stats.free_bytes},
                {"pending_nodes", stats.pending_nodes}};
  }

  static Outcome<json> Lanes(ControlSession& session, const json&) {
    return session.context_.describe_lanes ? session.context_.describe_lanes() : json::array();
  }

  static Outcome<VmPorts*> Vms(ControlSession& session) {
    if (!session.context_.vms)
      return Explain(Err::kNotSupported, "this server attaches no machines");
    return session.context_.vms;
  }

  static Outcome<json> Attach(ControlSession& session, const json& request) {
    PRISM_ASSIGN(VmPorts* const vms, Vms(session));
    PRISM_ASSIGN(const VmInfo vm, vms->Attach({.vm = Text(request, "vm"),
                                               .volumes = Texts(request, "volumes"),
                                               .uid = Number(request, "uid"),
                                               .lanes = Number(request, "lanes"),
                                               .queues = Number(request, "queues"),
                                               .payload_bytes = Number(request, "payload_bytes")}));
    return Describe(vm);
  }

  static Outcome<json> Detach(ControlSession& session, const json& request) {
    PRISM_ASSIGN(VmPorts* const vms, Vms(session));
    const std::string vm = Text(request, "vm");
    PRISM_TRY(vms->Detach(vm, Texts(request, "volumes")));
    return json{{"vm", vm}};
  }

  static Outcome<json> ListVms(ControlSession& session, const json&) {
    json result = json::array();
    if (session.context_.vms)
      for (const VmInfo& vm : session.context_.vms->List()) result.push_back(Describe(vm));
    return result;
  }

  static Outcome<void> Check(const Verb& verb, const json& request);
  static std::span<const Verb> All();
};

std::span<const ControlVerbs::Verb> ControlVerbs::All() {
  static constexpr Field kName{"name"};
  static constexpr std::array kVerbs = {
      Verb{"ping", {}, Ping},
      Verb{"create", {kName, {"importing", Type::kFlag, false}}, Create},
      Verb{"publish", {kName}, Publish},
      Verb{"clone", {{{"source"}, {"targets", Type::kTexts}}}, Clone},
      Verb{"list", {}, List},
      Verb{"show", {kName, {"exclusive", Type::kFlag, false}}, Show},
      Verb{"access", {kName, {"rules", Type::kText, false}}, Access},
      Verb{"destroy", {{{"names", Type::kTexts}}}, Destroy},
      Verb{"rename", {{{"from"}, {"to"}}}, Rename},
      Verb{"stat", {}, Stat},
      Verb{"lanes", {}, Lanes},
      Verb{"attach",
           {{{"vm"},
             {"volumes", Type::kTexts},
             {"uid", Type::kNumber, false},
             {"lanes", Type::kNumber, false},
             {"queues", Type::kNumber, false},
             {"payload_bytes", Type::kNumber, false}}},
           Attach},
      Verb{"detach", {{{"vm"}, {"volumes", Type::kTexts, false}}}, Detach},
      Verb{"vms", {}, ListVms},
  };
  return kVerbs;
}

Outcome<void> ControlVerbs::Check(const Verb& verb, const json& request) {
  auto is_text = [](const json& value) {
    return value.is_string() && value.get_ref<const std::string&>().size() <= kControlStringMax;
  };
  size_t known = 1;  // "verb"
  for (const Field& field : verb.fields) {
    if (!field.name) continue;
    const auto found = request.find(field.name);
    if (found == request.end()) {
      if (!field.required) continue;
      return Explain(Err::kInvalid, "{} needs \"{}\"", verb.name, field.name);
    }
    ++known;
    if (field.type == Type::kText && !is_text(*found))
      return Explain(Err::kInvalid, "\"{}\" must be a string of at most {} bytes", field.name,
                     kControlStringMax);
    if (field.type == Type::kFlag && !found->is_boolean())
      return Explain(Err::kInvalid, "\"{}\" must be true or false", field.name);
    if (field.type == Type::kNumber &&
        (!found->is_number_unsigned() || found->get<uint64_t>() > UINT32_MAX))
      return Explain(Err::kInvalid, "\"{}\" must be a whole number from 0 to {}", field.name,
                     UINT32_MAX);
    if (field.type == Type::kTexts &&
        (!found->is_array() || found->empty() || found->size() > kControlNamesMax ||
         !std::all_of(found->begin(), found->end(), is_text)))
      return Explain(Err::kInvalid, "\"{}\" must be an array of 1 to {} strings", field.name,
                     kControlNamesMax);
  }
  if (request.size() != known)
    return Explain(Err::kInvalid, "{} was given a field that it does not know", verb.name);
  return {};
}

ControlSession::~ControlSession() {
  if (imports_.empty()) return;
  for (const fs::VolumeInfo& volume : context_.host.List()) {
    if (!volume.importing ||
        std::find(imports_.begin(), imports_.end(), volume.id) == imports_.end())
      continue;
    Outcome<void> destroyed = context_.host.Destroy({volume.name});
    if (destroyed)
      spdlog::info("import of {} was given up; the volume is gone", volume.name);
    else
      spdlog::error("import of {} was given up, but the volume stays: {}", volume.name,
                    destroyed.error().message);
  }
}

Outcome<json> ControlSession::Dispatch(std::string_view line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) return Explain(Err::kInvalid, "a request is one JSON object on a line");
  const auto verb = request.find("verb");
  if (verb == request.end() || !verb->is_string())
    return Explain(Err::kInvalid, "a request needs a \"verb\"");
  const std::string& name = verb->get_ref<const std::string&>();
  for (const ControlVerbs::Verb& row : ControlVerbs::All()) {
    if (row.name != name) continue;
    PRISM_TRY(ControlVerbs::Check(row, request));
    return row.handler(*this, request);
  }
  return Explain(Err::kNotSupported, "this server does not know the verb \"{:.64}\"", name);
}

std::string ControlSession::Answer(std::string_view line) {
  const auto start = std::chrono::steady_clock::now();
  Outcome<json> result = Dispatch(line);
  if (!result) return FailureLine(result.error());
  const auto took = std::chrono::steady_clock::now() - start;
  return Dump({{"ok", true},
               {"result", std::move(*result)},
               {"server_us", std::chrono::duration<double, std::micro>(took).count()}});
}

std::string FailureLine(const Failure& failure) {
  return Dump({{"ok", false}, {"error", NameOf(failure.code)}, {"message", failure.message}});
}

}  // namespace prism::server
