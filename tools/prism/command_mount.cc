// mount and umount.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <memory>

#include "fs/mount/mount.h"
#include "tools/prism/command.h"
#include "tools/prism/control_client.h"
#include "tools/prism/format.h"
#include "vrpc/sockets.h"

namespace prism::tool {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

CommandResult ResultOf(std::string text, double seconds) {
  CommandResult result;
  result.json = {{"ok", true}, {"took_us", seconds * 1e6}};
  result.text = std::move(text);
  return result;
}

// The server is asked first, because its answers say more than a refused handshake; but who was
// given a socket (prism attach) need not be allowed to ask.
Outcome<CommandResult> Mount(const CommonOptions& common, mount::MountOptions options) {
  if (options.lane_path.empty()) {
    PRISM_ASSIGN(ControlClient control, ControlClient::Connect(common.control_path));
    PRISM_ASSIGN(const Reply shown, control.Call("show", {{"name", options.volume}}));
    options.read_only |= FlagIn(shown.result, "read_only");
    options.lane_path = vrpc::LanePathFor(common.control_path);
  }
  const auto start = Clock::now();
  PRISM_TRY(mount::RunMount(options));
  const double seconds = SecondsSince(start);
  if (options.foreground) return ResultOf({}, seconds);
  return ResultOf(
      fmt::format("mounted {} at {} in {}\n", options.volume, options.directory, Seconds(seconds)),
      seconds);
}

Outcome<CommandResult> Umount(const std::string& directory, int timeout_ms) {
  const auto start = Clock::now();
  PRISM_TRY(mount::Unmount(directory, timeout_ms));
  const double seconds = SecondsSince(start);
  return ResultOf(fmt::format("unmounted {} in {}\n", directory, Seconds(seconds)), seconds);
}

}  // namespace

void AddMountVerbs(CLI::App& app, const CommonOptions& common, Command& chosen) {
  auto options = std::make_shared<mount::MountOptions>();
  options->allow_other = geteuid() == 0;
  CLI::App* mount_verb =
      app.add_subcommand("mount", "mount a volume; returns when the mount is live");
  mount_verb->add_option("NAME", options->volume, "of the volume")->required();
  mount_verb->add_option("DIR", options->directory, "an existing directory")->required();
  mount_verb->add_option("--socket", options->lane_path,
                         "a socket that prism attach made (the server's own, for all volumes)");
  mount_verb->add_flag("-f,--foreground", options->foreground, "serve here, until unmounted");
  mount_verb->add_flag("--snapshots", options->snapshots,
                       "its snapshots are in .snapshot/LABEL, which listings do not show");
  mount_verb->add_flag("-r,--read-only", options->read_only, "refuse every change");
  mount_verb->add_flag("!--local-locks", options->share_locks,
                       "locks hold within this mount only; opening and closing files gets cheaper");
  mount_verb->add_option("--threads", options->threads, "that serve the mount")
      ->check(CLI::Range(1u, 64u))
      ->capture_default_str();
  mount_verb
      ->add_option_function<uint64_t>(
          "--wait-for-server",
          [options](uint64_t seconds) { options->patience_ms = seconds * 1000; },
          "seconds to wait for a server that has gone, before the mount is taken away (60)")
      ->check(CLI::Range(0u, 31536000u));
  mount_verb->add_option("--log", options->log_path, "where the background process logs (syslog)");
  mount_verb->callback([&chosen, &common, options] {
    chosen = [&common, options] { return Mount(common, *options); };
  });

  auto directory = std::make_shared<std::string>();
  auto timeout_ms = std::make_shared<int>(60000);
  CLI::App* umount_verb =
      app.add_subcommand("umount", "unmount, and wait until everything is written and gone");
  umount_verb->add_option("DIR", *directory, "the mount point")->required();
  umount_verb->add_option("--timeout-ms", *timeout_ms, "how long to wait")
      ->check(CLI::Range(1, 86400000))
      ->capture_default_str();
  umount_verb->callback([&chosen, directory, timeout_ms] {
    chosen = [directory, timeout_ms] { return Umount(*directory, *timeout_ms); };
  });
}

}  // namespace prism::tool
