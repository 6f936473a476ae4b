// Whether a store is whole.
#include <fmt/format.h>

#include <cstdio>
#include <memory>

#include "fs/core/check_report_json.h"
#include "fs/core/store_check.h"
#include "tools/prism/ask.h"
#include "tools/prism/format.h"

namespace prism::tool {
namespace {

using nlohmann::json;

// As of other programs that check file systems: whoever runs one asks what was found.
constexpr int kExitDamage = 1;
constexpr int kExitNotChecked = 2;

struct FsckOptions {
  std::string store;
  bool data = false;
};

CommandResult NotChecked(const CommonOptions& common, const Failure& failure) {
  if (!common.json) fmt::print(stderr, "prism: nothing was checked: {}\n", failure.message);
  return {{{"ok", false}, {"error", NameOf(failure.code)}, {"message", failure.message}},
          {},
          false,
          kExitNotChecked};
}

Outcome<json> Ask(const CommonOptions& common, const FsckOptions& options) {
  if (options.store.empty()) {
    json request = json::object();
    if (options.data) request["data"] = true;
    PRISM_ASSIGN(Reply reply, Ask(common, "fsck", std::move(request)));
    return reply.result;
  }
  PRISM_ASSIGN(const cow::CheckReport report, fs::CheckStore(options.store, options.data));
  return fs::JsonOf(report);
}

Outcome<CommandResult> Fsck(const CommonOptions& common, const FsckOptions& options) {
  const Outcome<json> report = Ask(common, options);
  if (!report) return NotChecked(common, report.error());
  const uint64_t count = NumberIn(*report, "damage_count");
  const json damages = report->value("damages", json::array());
  std::string text;
  for (const json& damage : damages)
    if (damage.is_string()) text += Printable(damage.get_ref<const std::string&>()) + "\n";
  if (count > damages.size()) text += fmt::format("and {} more\n", Count(count - damages.size()));
  text += fmt::format("{} volumes, {} files, {} nodes, {} chunks",
                      Count(NumberIn(*report, "volumes")), Count(NumberIn(*report, "inodes")),
                      Count(NumberIn(*report, "nodes")), Count(NumberIn(*report, "chunks")));
  if (options.data) text += fmt::format(", {} read", Bytes(NumberIn(*report, "data_bytes")));
  if (const uint64_t records = NumberIn(*report, "journal_records"); records > 0)
    text += fmt::format(", {} {} operations that are only in the journal",
                        FlagIn(*report, "journal_included") ? "with" : "without", Count(records));
  text += count == 0 ? ": all is well\n" : fmt::format(": {} damages\n", Count(count));
  CommandResult result{{{"ok", true}, {"result", *report}}, std::move(text)};
  if (count > 0) result.exit_code = kExitDamage;
  return result;
}

}  // namespace

void AddFsckVerb(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<FsckOptions>();
  CLI::App* fsck = app.add_subcommand("fsck", "recount everything, and say what is damaged");
  fsck->add_option("STORE", options->store,
                   "a store's directory, whose server is stopped; else the server checks its own, "
                   "while it serves");
  fsck->add_flag("--data", options->data, "also read and verify all content");
  fsck->footer("Exit codes: 0 all is well, 1 damage was found, 2 nothing could be checked.");
  fsck->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Fsck(common, *options); };
  });
}

}  // namespace prism::tool
