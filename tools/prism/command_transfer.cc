// import and export.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>

#include "tools/prism/command.h"
#include "tools/prism/control_client.h"
#include "tools/prism/format.h"
#include "tools/prism/transfer.h"
#include "vrpc/client.h"
#include "vrpc/sockets.h"

namespace prism::tool {
namespace {

using nlohmann::json;

struct TransferOptions {
  std::string place;  // dir:PATH or tar:PATH
  std::string name;
  ImportOptions import_options;
  bool quiet = false;
};

bool IsDirectory(const std::string& place) { return place.starts_with("dir:"); }
std::string PathIn(const std::string& place) { return place.substr(4); }

std::string CheckPlace(const std::string& place) {
  if ((place.starts_with("dir:") || place.starts_with("tar:")) && place.size() > 4) return {};
  return fmt::format("{} is neither dir:PATH nor tar:PATH nor tar:-", place);
}

Progress::Style StyleFor(const CommonOptions& common, const TransferOptions& options) {
  if (options.quiet) return Progress::Style::kSilent;
  return isatty(STDERR_FILENO) && !common.json ? Progress::Style::kBar : Progress::Style::kLines;
}

Outcome<std::shared_ptr<vrpc::Client>> Attach(const CommonOptions& common, const std::string& name,
                                              bool importing) {
  vrpc::ConnectOptions options;
  options.volume = name;
  options.importing = importing;
  return vrpc::Client::Connect(vrpc::LanePathFor(common.control_path), options);
}

CommandResult ResultOf(const TransferReport& report, const std::string& what) {
  const uint64_t all = report.files + report.directories + report.others;
  const double files_per_sec = all / report.seconds, bytes_per_sec = report.bytes / report.seconds;
  CommandResult result;
  result.warnings = report.warnings > 0;
  result.json = {{"ok", true},
                 {"files", report.files},
                 {"directories", report.directories},
                 {"others", report.others},
                 {"hard_links", report.hard_links},
                 {"bytes", report.bytes},
                 {"warnings", report.warnings},
                 {"seconds", report.seconds},
                 {"files_per_sec", files_per_sec},
                 {"bytes_per_sec", bytes_per_sec}};
  result.text = fmt::format(
      "{} in {}\n"
      "  {} files, {} directories, {} symlinks and special files, {} further names\n"
      "  {} of data; {} files/s, {}/s\n",
      what, Seconds(report.seconds), Count(report.files), Count(report.directories),
      Count(report.others), Count(report.hard_links), Bytes(report.bytes),
      Count(static_cast<uint64_t>(files_per_sec)), Bytes(static_cast<uint64_t>(bytes_per_sec)));
  if (report.warnings > 0) result.text += fmt::format("  {} warnings\n", Count(report.warnings));
  return result;
}

// The server destroys the volume when this connection ends before the import is published, so that
// every way out of here but the last leaves nothing.
Outcome<CommandResult> Import(const CommonOptions& common, const TransferOptions& options) {
  PRISM_ASSIGN(ControlClient control, ControlClient::Connect(common.control_path));
  PRISM_TRY(control.Call("create", {{"name", options.name}, {"importing", true}}));
  PRISM_ASSIGN(std::shared_ptr<vrpc::Client> volume, Attach(common, options.name, true));
  Progress progress(StyleFor(common, options), "import " + options.name);
  const std::string path = PathIn(options.place);
  PRISM_TRY(IsDirectory(options.place)
                ? ImportDirectory(*volume, path, options.import_options, progress)
                : ImportTar(*volume, path, progress));
  Status synced = volume->Sync(kRootCaller);
  if (!synced) return ExplainErr(synced.error(), "cannot make the import durable");
  volume.reset();
  PRISM_TRY(control.Call("publish", {{"name", options.name}}));
  return ResultOf(progress.Finish(),
                  fmt::format("imported {} as {}", Printable(options.place), options.name));
}

Outcome<CommandResult> Export(const CommonOptions& common, const TransferOptions& options) {
  PRISM_ASSIGN(ControlClient control, ControlClient::Connect(common.control_path));
  PRISM_TRY(control.Call("show", {{"name", options.name}}));
  PRISM_ASSIGN(std::shared_ptr<vrpc::Client> volume, Attach(common, options.name, false));
  Progress progress(StyleFor(common, options), "export " + options.name);
  const std::string path = PathIn(options.place);
  PRISM_TRY(IsDirectory(options.place) ? ExportDirectory(*volume, path, progress)
                                       : ExportTar(*volume, path, progress));
  CommandResult result = ResultOf(
      progress.Finish(), fmt::format("exported {} to {}", options.name, Printable(options.place)));
  if (options.place == "tar:-") {  // stdout is the archive's
    if (!options.quiet) fmt::print(stderr, "{}", result.text);
    result.text.clear();
  }
  return result;
}

}  // namespace

void AddTransferVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<TransferOptions>();
  CLI::App* import = app.add_subcommand("import", "make a volume from a directory or an archive");
  import
      ->add_option("SOURCE", options->place,
                   "dir:PATH, or tar:PATH, or tar:- for standard input; any compression")
      ->required()
      ->check(CheckPlace);
  import->add_option("NAME", options->name, "of the new volume")->required();
  import->add_flag("--cross-file-systems", options->import_options.cross_file_systems,
                   "enter file systems mounted below the directory");
  import->add_option("--threads", options->import_options.threads,
                     "that read a directory (0: as many as suits)");
  import->add_flag("-q,--quiet", options->quiet, "no progress");
  import->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Import(common, *options);
};
}  // namespace prism::tool
);

CLI::App* export_verb = app.add_subcommand("export", "write a volume as a directory or an archive");
export_verb->add_option("NAME", options->name, "of the volume")->required();
export_verb
    ->add_option("TARGET", options->place,
                 "dir:PATH, new or empty; or tar:PATH; or tar:- for standard output")
    ->required()
    ->check(CheckPlace);
export_verb->add_flag("-q,--quiet", options->quiet, "no progress");
export_verb->callback([&chosen, &common, options] {
  chosen = [&common, options]() -> Outcome<CommandResult> {
    if (common.json && options->place == "tar:-")
      return Explain(Err::kInvalid, "--json and tar:- both want standard output");
    return Export(common, *options);
  };
});
}

}  // namespace prism::tool
