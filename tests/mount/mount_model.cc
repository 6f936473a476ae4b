// Mounts the reference model, for the POSIX suite and for trying things by hand:
//   mount_model DIR [DIR2 ...] [--threads N] [--background] [--log FILE] [--die-after MS]
// Each directory is a mount of the same volume, by a FileSystem of its own. With --background one
// directory is mounted by a process of its own, as `prism mount` does; --die-after then plays a
// server that dies.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <thread>

#include "fs/mount/mount.h"
#include "fs/mount/mount_session.h"
#include "tests/model/model_host.h"

namespace prism {
namespace {

int Fail(const Failure& failure) {
  fmt::print(stderr, "mount_model: {}\n", failure.message);
  return 1;
}

int MountAll(const std::vector<std::string>& directories, unsigned threads) {
  model::ModelHost host;
  if (auto made = host.Create("base", false); !made) return Fail(made.error());
  std::vector<std::unique_ptr<mount::MountSession>> sessions;
  for (const std::string& directory : directories) {
    auto file_system = host.Attach("base", false);
    if (!file_system) return Fail(file_system.error());
    auto session = mount::MountSession::Start(
        *file_system, {.directory = directory, .volume = "base", .threads = threads});
    if (!session) return Fail(session.error());
    sessions.push_back(std::move(*session));
  }
  fmt::print("mounted\n");
  fflush(stdout);
  for (auto& session : sessions)
    while (!session->WaitEnded(std::chrono::hours(1))) {
    }
  return 0;
}

int MountOne(const mount::MountOptions& options, int die_after_ms) {
  std::unique_ptr<model::ModelHost> host;
  auto outcome = mount::RunMountOver(
      options,
      [&](mount::DisconnectHandler on_disconnect) -> Outcome<std::shared_ptr<fs::FileSystem>> {
        host = std::make_unique<model::ModelHost>();
        if (auto made = host->Create("base", false); !made) return tl::unexpected(made.error());
        if (die_after_ms >= 0)
          std::thread([=] {
            std::this_thread::sleep_for(std::chrono::milliseconds(die_after_ms));
            on_disconnect("the test ended it");
          }).detach();
        return host->Attach("base", false);
      });
  return outcome ? 0 : Fail(outcome.error());
}

}  // namespace
}  // namespace prism

int main(int argc, char** argv) {
  CLI::App app("Mounts the reference model");
  std::vector<std::string> directories;
  prism::mount::MountOptions options{.volume = "base"};
  bool background = false;
  int die_after_ms = -1;
  app.add_option("directory", directories)->required();
  app.add_option("--threads", options.threads);
  app.add_flag("--foreground", options.foreground);
  app.add_flag("--background", background);
  app.add_flag("--read-only", options.read_only);
  app.add_option("--log", options.log_path);
  app.add_option("--die-after", die_after_ms);
  CLI11_PARSE(app, argc, argv);
  if (!background && !options.foreground) return prism::MountAll(directories, options.threads);
  options.directory = directories[0];
  return prism::MountOne(options, die_after_ms);
}
