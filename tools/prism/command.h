// What the verbs of the `prism` command share.
//
// EXIT CODES, the same for every verb:
//   0  done
//   1  failed; the message says why
//   2  wrong usage
//   3  no server answers, or it has gone
//   4  what was named does not exist
//   5  what was to be made exists already
//   6  busy: in use, or somebody else is at it
//   7  done, but something could not be kept or had changed meanwhile; the warnings say what
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "fs/base/failure.h"

namespace prism::tool {

inline constexpr int kExitDone = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNoServer = 3;
inline constexpr int kExitNotFound = 4;
inline constexpr int kExitExists = 5;
inline constexpr int kExitBusy = 6;
inline constexpr int kExitWarnings = 7;

int ExitCodeOf(Err err);

// The options that every verb has.
struct CommonOptions {
  std::string control_path;
  bool json = false;
};

struct CommandResult {
  nlohmann::json json;  // for --json
  std::string text;     // for people; ends with a newline, or is empty
  bool warnings = false;
  int exit_code = kExitDone;  // of a verb that has its own
};

// The verb that was named, to be run once the whole command line has been read.
using Command = std::function<Outcome<CommandResult>()>;

// Each adds its verbs; the callback of the one that is used sets `chosen`.
void AddCloneVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddComposeVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddDiffVerb(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddMergeVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddDuVerb(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddSealVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddVolumeVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddFsckVerb(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddQuotaVerb(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddTransferVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddVmVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);
void AddMountVerbs(CLI::App& app, const CommonOptions& common, Command& chosen);

// The lanes of the server, a table.
Outcome<CommandResult> ListLanes(const CommonOptions& common);

// Runs the command line; returns the exit code.
int RunCommandLine(int argc, const char* const* argv);

}  // namespace prism::tool
