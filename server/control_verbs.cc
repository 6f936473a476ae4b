#include "server/control_verbs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <span>

#include "server/control_birth.h"
#include "server/control_compose.h"
#include "server/control_snapshots.h"
#include "server/control_vms.h"

namespace prism::server {

using nlohmann::json;

namespace {

std::string Dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
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

}  // namespace

// The handlers. A request has been checked against its verb's fields before it comes here.
struct ControlVerbs {
  using Handler = Outcome<json> (*)(ControlSession&, const json&);

  struct Verb {
    std::string_view name;
    Fields fields;
    Handler handler;
  };

  static Outcome<json> Ping(ControlSession& session, const json&) {
    return json{{"server", "prismd"}, {"protocol", 1}, {"vrpc", session.context_.vrpc_path}};
  }

  static Outcome<json> Create(ControlSession& session, const json& request) {
    const bool importing = Flag(request, "importing");
    PRISM_ASSIGN(fs::VolumeInfo volume,
                 session.context_.host.Create(Text(request, "name"), importing,
                                              Text(request, "request_key")));
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

  static Outcome<json> Rename(ControlSession& session, const json& request) {
    PRISM_ASSIGN(fs::VolumeInfo volume,
                 session.context_.host.Rename(Text(request, "from"), Text(request, "to"),
                                              Text(request, "request_key")));
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

  static std::span<const Verb> All();
};

std::span<const ControlVerbs::Verb> ControlVerbs::All() {
  static constexpr Field kName{"name"};
  static constexpr Field kKey{"request_key", FieldType::kText, false};
  static constexpr std::array kVerbs = {
      Verb{"ping", {}, Ping},
      Verb{"create", {{kName, {"importing", FieldType::kFlag, false}, kKey}}, Create},
      Verb{"publish", {{kName}}, Publish},
      Verb{"show", {{kName, {"exclusive", FieldType::kFlag, false}}}, Show},
      Verb{"access", {{kName, {"rules", FieldType::kText, false}}}, Access},
      Verb{"rename", {{{"from"}, {"to"}, kKey}}, Rename},
      Verb{"stat", {}, Stat},
  };
  return kVerbs;
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
    PRISM_TRY(CheckFields(row.name, row.fields, request));
    return row.handler(*this, request);
  }
  for (std::span<const ContextVerb> rows :
       {SnapshotVerbs(), BirthVerbs(), ComposeVerbs(), VmVerbs()}) {
    for (const ContextVerb& row : rows) {
      if (row.name != name) continue;
      PRISM_TRY(CheckFields(row.name, row.fields, request));
      return row.handler(context_, request);
    }
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
