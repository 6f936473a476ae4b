#include "tools/prism/command.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "tools/prism/format.h"

namespace prism::tool {
namespace {

using nlohmann::json;

constexpr const char* kDefaultControlPath = "/run/prism/control.sock";
constexpr const char* kFooter =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no server, 4 does not exist, 5 exists "
    "already,\n"
    "6 busy, 7 done with warnings.";

std::string Dump(const json& value) {
  return value.dump(2, ' ', false, json::error_handler_t::replace);
}

int Report(const Outcome<CommandResult>& outcome, bool as_json) {
  if (!outcome) {
    const Failure& failure = outcome.error();
    if (as_json)
      fmt::print(
          "{}\n",
          Dump({{"ok", false}, {"error", NameOf(failure.code)}, {"message", failure.message}}));
    else
      fmt::print(stderr, "prism: {}\n", failure.message);
    return ExitCodeOf(failure.code);
  }
  if (as_json)
    fmt::print("{}\n", Dump(outcome->json));
  else
    fmt::print("{}", outcome->text);
  return outcome->warnings ? kExitWarnings : outcome->exit_code;
}

}  // namespace

int ExitCodeOf(Err err) {
  switch (err) {
    case Err::kDisconnected:
      return kExitNoServer;
    case Err::kNoEntry:
      return kExitNotFound;
    case Err::kExists:
      return kExitExists;
    case Err::kBusy:
      return kExitBusy;
    default:
      return kExitFailed;
  }
}

int RunCommandLine(int argc, const char* const* argv) {
  CLI::App app("Clones of whole file systems in an instant: the command for a prismd server.",
               "prism");
  app.footer(kFooter);
  app.require_subcommand(1);
  app.fallthrough();
  CommonOptions common;
  common.control_path = kDefaultControlPath;
  app.add_option("--control", common.control_path, "the server's control socket")
      ->envname("PRISM_CONTROL")
      ->capture_default_str();
  app.add_flag("--json", common.json, "print the result, or the error, as JSON on stdout");

  Command command;
  AddVolumeVerbs(app, common, command);
  AddCloneVerbs(app, common, command);
  AddSealVerbs(app, common, command);
  AddComposeVerbs(app, common, command);
  AddDiffVerb(app, common, command);
  AddMergeVerbs(app, common, command);
  AddDuVerb(app, common, command);
  AddFsckVerb(app, common, command);
  AddQuotaVerb(app, common, command);
  AddTransferVerbs(app, common, command);
  AddVmVerbs(app, common, command);
  AddMountVerbs(app, common, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kExitDone : kExitUsage;
  }
  return Report(command(), common.json);
}

}  // namespace prism::tool
