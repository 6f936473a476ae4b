// The verbs that are one question to the server.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/volume_tree.h"

namespace prism::tool {
namespace {

using nlohmann::json;

Outcome<CommandResult> Ping(const CommonOptions& common) {
  PRISM_ASSIGN(Reply reply, Ask(common, "ping"));
  return ResultOf(reply, fmt::format("{} answers {}\n", common.control_path, Took(reply)));
}

Outcome<CommandResult> Create(const CommonOptions& common, const std::string& name,
                              const std::string& key) {
  PRISM_ASSIGN(Reply reply, Ask(common, "create", Keyed({{"name", name}}, key)));
  return ResultOf(reply, fmt::format("created {} {}\n", name, Took(reply)));
}

Outcome<CommandResult> Rename(const CommonOptions& common, const std::string& from,
                              const std::string& to, const std::string& key) {
  PRISM_ASSIGN(Reply reply, Ask(common, "rename", Keyed({{"from", from}, {"to", to}}, key)));
  return ResultOf(reply, fmt::format("renamed {} to {} {}\n", from, to, Took(reply)));
}

// The machines that are attached to a volume; "-": none.
std::string VmsOf(const json& volume) {
  std::string vms;
  for (const json& vm : volume.value("vms", json::array()))
    if (vm.is_string())
      vms += (vms.empty() ? "" : " ") + Printable(vm.get_ref<const std::string&>());
  return vms.empty() ? "-" : vms;
}

Outcome<CommandResult> List(const CommonOptions& common) {
  PRISM_ASSIGN(Reply reply, Ask(common, "list"));
  Table table(
      {{"NAME"}, {"FROM"}, {"FILES", true}, {"SIZE", true}, {"USERS", true}, {"CREATED"}, {"VMS"}});
  for (const json& volume : reply.result) {
    if (!volume.is_object()) continue;
    std::string name = Printable(TextIn(volume, "name"));
    if (FlagIn(volume, "importing")) name += " (importing)";
    if (FlagIn(volume, "sealed")) name += " (sealed)";
    if (IsBeingCounted(volume)) name += " (still being counted)";
    const std::string parent = Printable(TextIn(volume, "parent"));
    table.Add({std::move(name), parent.empty() ? "-" : parent, Count(NumberIn(volume, "inodes")),
               Bytes(NumberIn(volume, "logical_bytes")), Count(NumberIn(volume, "attached")),
               LocalTime(static_cast<int64_t>(NumberIn(volume, "created_sec"))), VmsOf(volume)});
  }
  return ResultOf(reply, table.empty() ? "no volumes: import or create one\n" : table.Format());
}

Outcome<CommandResult> ListTree(const CommonOptions& common) {
  PRISM_ASSIGN(Reply reply, Ask(common, "list"));
  return ResultOf(reply, DrawTree(reply.result));
}

// What a guest types, and what its kernel is started with, to use the volume over NFS. A server
// that listens on loopback is where QEMU's user networking has its host.
std::string NfsLines(const json& nfs) {
  const std::string address = Printable(TextIn(nfs, "address"));
  const std::string path = Printable(TextIn(nfs, "export"));
  const uint64_t port = NumberIn(nfs, "port");
  std::string server = address;
  std::string where = "from a guest";
  if (address.starts_with("127.") || address == "::1") {
    server = "10.0.2.2";
    where = "from a guest of this host (QEMU's user networking)";
  } else if (address == "0.0.0.0" || address == "::") {
    server = "SERVER";
    where = "from a guest that reaches this host as SERVER";
  }
  std::string access = "  " + Printable(TextIn(nfs, "access"));
  for (size_t at = 2; (at = access.find(' ', at)) != access.npos; at += 3)
    access.replace(at, 1, "\n  ");
  if (access.find("insecure") == access.npos)
    access +=
        "\n  (a guest of QEMU's user networking is let in by: prism access NAME "
        "'127.0.0.1(insecure)')";
  return fmt::format(
      "\nNFS, {}:\n"
      "  mount -t nfs -o vers=3,proto=tcp,port={},mountproto=tcp,mountport={},nolock,addr={} {}:{} "
      "/mnt\n"
      "as its root file system, on its kernel's command line:\n"
      "  root=/dev/nfs boot=nfs nfsroot={}:{},vers=3,proto=tcp,port={},mountport={},nolock "
      "ip=dhcp rw\n"
      "for clients (prism access):\n{}\n",
      where, port, port, server, server, path, server, path, port, port, access);
}

std::string StateOf(const json& volume) {
  std::string state = FlagIn(volume, "importing")   ? "importing"
                      : FlagIn(volume, "sealed")    ? "sealed"
                      : FlagIn(volume, "read_only") ? "read-only"
                                                    : "ready";
  for (const json& tag : volume.value("holds", json::array()))
    if (tag.is_string()) state += ", held by " + Printable(tag.get_ref<const std::string&>());
  return state;
}

Outcome<CommandResult> Show(const CommonOptions& common, const std::string& name) {
  PRISM_ASSIGN(Reply reply, Ask(common, "show", {{"name", name}, {"exclusive", true}}));
  const json& volume = reply.result;
  const std::string parent = Printable(TextIn(volume, "parent"));
  Table table({{"volume"}, {Printable(TextIn(volume, "name"))}});
  table.Add({"id", std::to_string(NumberIn(volume, "id"))});
  table.Add({"comes from", parent.empty() ? "-" : parent});
  table.Add({"created", LocalTime(static_cast<int64_t>(NumberIn(volume, "created_sec")))});
  table.Add({"state", StateOf(volume)});
  if (const uint64_t expires = NumberIn(volume, "expires_sec"); expires != 0)
    table.Add({"goes by itself", LocalTime(static_cast<int64_t>(expires))});
  table.Add({"users", Count(NumberIn(volume, "attached"))});
  table.Add({"machines", VmsOf(volume)});
  const char* counting = IsBeingCounted(volume) ? " at most: still being counted" : "";
  table.Add({"files", Count(NumberIn(volume, "inodes")) + counting});
  table.Add({"size", Bytes(NumberIn(volume, "logical_bytes")) + counting});
  table.Add({"held alone",
             fmt::format("{} (of that, metadata: {})", Bytes(NumberIn(volume, "exclusive_bytes")),
                         Bytes(NumberIn(volume, "exclusive_metadata_bytes")))});
  std::string text = table.Format();
  if (volume.contains("nfs") && volume.at("nfs").is_object()) text += NfsLines(volume.at("nfs"));
  return ResultOf(reply, text);
}

Outcome<CommandResult> Access(const CommonOptions& common, const std::string& name,
                              const std::vector<std::string>& rules, bool reset) {
  json request = {{"name", name}};
  if (reset || !rules.empty()) request["rules"] = fmt::format("{}", fmt::join(rules, " "));
  PRISM_ASSIGN(Reply reply, Ask(common, "access", std::move(request)));
  std::string text = Printable(TextIn(reply.result, "access"));
  std::replace(text.begin(), text.end(), ' ', '\n');
  return ResultOf(reply, text + "\n");
}

std::string Times(uint64_t whole, uint64_t part) {
  return part == 0 ? "-" : fmt::format("{:.2f} x", static_cast<double>(whole) / part);
}

Outcome<CommandResult> Stat(const CommonOptions& common) {
  PRISM_ASSIGN(Reply reply, Ask(common, "stat"));
  const json& stats = reply.result;
  const uint64_t logical = NumberIn(stats, "logical_bytes");
  const uint64_t unique = NumberIn(stats, "unique_bytes");
  const uint64_t stored = NumberIn(stats, "stored_bytes");
  Table table({{"store"}, {"", true}});
  table.Add({"volumes", Count(NumberIn(stats, "volumes"))});
  table.Add({"logical (each volume counted whole)", Bytes(logical)});
  table.Add({"unique (after clones and deduplication)", Bytes(unique)});
  table.Add({"stored (after compression)", Bytes(stored)});
  table.Add({"metadata", Bytes(NumberIn(stats, "metadata_bytes"))});
  table.Add({"shared: logical / unique", Times(logical, unique)});
  table.Add({"compressed: unique / stored", Times(unique, stored)});
  table.Add({"chunks", Count(NumberIn(stats, "chunks"))});
  table.Add({"tree nodes", Count(NumberIn(stats, "nodes"))});
  table.Add({"nodes still to be reclaimed", Count(NumberIn(stats, "pending_nodes"))});
  table.Add({"journal records since start", Count(NumberIn(stats, "journal_records"))});
  table.Add({"checkpoints since start", Count(NumberIn(stats, "checkpoints"))});
  table.Add({"free in the store", Bytes(NumberIn(stats, "free_bytes"))});
  return ResultOf(reply, table.Format());
}

}  // namespace

void AddVolumeVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  struct Names {
    std::string first, second, request_key;
    std::vector<std::string> many;
    bool flag = false;
    bool lanes = false;
  };
  auto names = std::make_shared<Names>();
  auto add = [&](const char* verb, const char* help, auto run) {
    CLI::App* sub = app.add_subcommand(verb, help);
    sub->callback([&chosen, &common, names, run] {
      chosen = [&common, names, run] { return run(common, *names); };
    });
    return sub;
  };

  CLI::App* create = add("create", "make an empty volume", [](const CommonOptions& to, Names& n) {
    return Create(to, n.first, n.request_key);
  });
  create->add_option("NAME", names->first, "[A-Za-z0-9._-], up to 128 characters")->required();
  AddRequestKey(*create, names->request_key);
  CLI::App* list = add("list", "all volumes and snapshots", [](const CommonOptions& to, Names& n) {
    if (n.lanes) return ListLanes(to);
    return n.flag ? ListTree(to) : List(to);
  });
  CLI::Option* tree = list->add_flag("--tree", names->flag, "what was made from what");
  list->add_flag("--lanes", names->lanes, "who works with them: as the verb lanes")->excludes(tree);
  add("show", "one volume, and what it holds alone",
      [](const CommonOptions& to, Names& n) { return Show(to, n.first); })
      ->add_option("NAME", names->first)
      ->required();
  CLI::App* access =
      add("access", "who may use a volume over NFS, and as whom",
          [](const CommonOptions& to, Names& n) { return Access(to, n.first, n.many, n.flag); });
  access->add_option("NAME", names->first)->required();
  CLI::Option* rules = access->add_option(
      "RULE", names->many,
      "CLIENT(OPTION,...) as in exports(5): an address, a network or *; rw|ro, no_root_squash|"
      "root_squash|all_squash, anonuid=N, anongid=N, secure|insecure. The first that fits decides");
  access->add_flag("--default", names->flag, "only root on the server's host")->excludes(rules);
  CLI::App* rename =
      add("rename", "give a volume another name", [](const CommonOptions& to, Names& n) {
        return Rename(to, n.first, n.second, n.request_key);
      });
  AddRequestKey(*rename, names->request_key);
  rename->add_option("FROM", names->first)->required();
  rename->add_option("TO", names->second)->required();
  add("stat", "the whole store: logical, deduplicated and compressed bytes",
      [](const CommonOptions& to, Names&) { return Stat(to); });
  add("ping", "whether the server answers",
      [](const CommonOptions& to, Names&) { return Ping(to); });
}

}  // namespace prism::tool
