// What volumes hold, and what would come back without them.
#include <fmt/format.h>

#include <memory>

#include "tools/prism/ask.h"
#include "tools/prism/format.h"
#include "tools/prism/name_range.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct DuOptions {
  std::vector<std::string> names;
  bool if_destroyed = false;
  bool csv = false;
};

std::string CsvOf(const json& volumes) {
  constexpr const char* kNumbers[] = {
      "inodes",       "exclusive_inodes", "logical_bytes",           "referenced_bytes",
      "shared_bytes", "exclusive_bytes",  "exclusive_metadata_bytes"};
  std::string text = fmt::format("name,{},counted\n", fmt::join(kNumbers, ","));
  for (const json& volume : volumes) {
    text += Printable(TextIn(volume, "name"));
    for (const char* number : kNumbers) text += fmt::format(",{}", NumberIn(volume, number));
    text += IsBeingCounted(volume) ? ",false\n" : ",true\n";
  }
  return text;
}

std::string TableOf(const json& volumes) {
  Table table({{"NAME"},
               {"FILES", true},
               {"LOGICAL", true},
               {"REFERENCED", true},
               {"SHARED", true},
               {"ALONE", true},
               {"METADATA", true}});
  for (const json& volume : volumes) {
    std::string name = Printable(TextIn(volume, "name"));
    if (IsBeingCounted(volume)) name += " (still being counted)";
    table.Add({std::move(name), Count(NumberIn(volume, "inodes")),
               Bytes(NumberIn(volume, "logical_bytes")),
               Bytes(NumberIn(volume, "referenced_bytes")), Bytes(NumberIn(volume, "shared_bytes")),
               Bytes(NumberIn(volume, "exclusive_bytes")),
               Bytes(NumberIn(volume, "exclusive_metadata_bytes"))});
  }
  return table.empty() ? "no volumes\n" : table.Format();
}

Outcome<CommandResult> Du(const CommonOptions& common, const DuOptions& options) {
  PRISM_ASSIGN(const std::vector<std::string> names, ExpandNames(options.names));
  if (options.if_destroyed) {
    PRISM_ASSIGN(Reply reply, Ask(common, "destroy",
                                  {{"names", names}, {"recursive", true}, {"dry_run", true}}));
    return ResultOf(reply, fmt::format("{} would come back (of that, metadata: {})\n",
                                       Bytes(NumberIn(reply.result, "bytes")),
                                       Bytes(NumberIn(reply.result, "metadata_bytes"))));
  }
  json request = json::object();
  if (!names.empty()) request["names"] = names;
  PRISM_ASSIGN(Reply reply, Ask(common, "du", std::move(request)));
  return ResultOf(reply, options.csv ? CsvOf(reply.result) : TableOf(reply.result));
}

}  // namespace

void AddDuVerb(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<DuOptions>();
  CLI::App* du = app.add_subcommand(
      "du", "what volumes and snapshots hold: logically, and alone, as it is stored");
  du->add_option("NAME", options->names, "all, if none is named");
  du->add_flag("--if-destroyed", options->if_destroyed,
               "what would come back if all these went, with their snapshots");
  du->add_flag("--csv", options->csv, "bytes, with commas between");
  du->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Du(common, *options); };
  });
}

}  // namespace prism::tool
