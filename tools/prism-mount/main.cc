// prism-mount: a guest's mount of its volume, over the lane of its ivshmem device, or over TCP.
#include <unistd.h>

#include <CLI/CLI.hpp>

#include "fs/mount/mount.h"
#include "fs/mount/root_daemon.h"
#include "tools/prism-mount/lane_mount.h"
#include "tools/prism-mount/tcp_mount.h"
#include "vrpc/device_endpoint.h"

namespace prism::guest {
namespace {

constexpr int kUnmountTimeoutMs = 60000;
constexpr uint32_t kRootConnectTimeoutMs = 120'000;              // a boot may wait for its server
constexpr uint64_t kRootPatienceMs = 365ull * 24 * 3600 * 1000;  // nothing is left without a root
constexpr char kFooter[] =
    "--lane auto takes shared memory where the machine has a lane's device, else TCP: the\n"
    "kernel's NFS client. Exit status: 0 done; 1 failed; 2 wrong usage; 3 no server answers;\n"
    "4 what was named does not exist; 6 busy.";

struct Arguments {
  std::string lane = "auto";
  std::string server;
  std::string wait = "auto";
  LaneMountOptions mount;
  bool list = false;
  std::string unmount;
};

int ExitCodeOf(Err err) {
  switch (err) {
    case Err::kDisconnected:
      return 3;
    case Err::kNoEntry:
      return 4;
    case Err::kBusy:
      return 6;
    default:
      return 1;
  }
}

Outcome<void> Mount(const Arguments& arguments) {
  const mount::MountOptions& options = arguments.mount.mount;
  LaneMountOptions lane = arguments.mount;
  if (arguments.wait == "irq") lane.device.wait = vrpc::Wait::kInterrupt;
  if (arguments.wait == "poll") lane.device.wait = vrpc::Wait::kPoll;
  bool by_memory = arguments.lane == "shm";
  if (arguments.lane == "auto") {
    PRISM_ASSIGN(by_memory, HasLane(lane.device));
  }
  if (by_memory) return MountByLane(lane);
  return MountByTcp({.server = arguments.server,
                     .volume = options.volume,
                     .directory = options.directory,
                     .read_only = options.read_only,
                     .share_locks = options.share_locks});
}

Outcome<void> Unmount(const std::string& directory) {
  if (IsTcpMount(directory)) return UnmountTcp(directory);
  return mount::Unmount(directory, kUnmountTimeoutMs);
}

void AddOptions(CLI::App& app, Arguments& arguments) {
  mount::MountOptions& options = arguments.mount.mount;
  options.allow_other = geteuid() == 0;
  CLI::Option* name = app.add_option("NAME", options.volume, "of the volume");
  CLI::Option* directory = app.add_option("DIR", options.directory, "an existing directory");
  name->needs(directory);
  app.add_option("--lane", arguments.lane, "how to reach the server")
      ->check(CLI::IsMember({"auto", "shm", "tcp"}))
      ->capture_default_str();
  app.add_option("--server", arguments.server,
                 "ADDR:PORT for TCP (default: prism.server= of the kernel's command line)");
  app.add_option("--device", arguments.mount.device.address,
                 "the lane's PCI address (default: the first that is a lane)");
  app.add_option("--wait", arguments.wait,
                 "for replies: by interrupt, which takes the whole device for this mount and an "
                 "IOMMU, by polling, or as the device's driver allows")
      ->check(CLI::IsMember({"auto", "irq", "poll"}))
      ->capture_default_str();
  app.add_flag("-f,--foreground", options.foreground, "serve here, until unmounted");
  app.add_flag("-r,--read-only", options.read_only, "refuse every change");
  app.add_flag("!--local-locks", options.share_locks,
               "locks hold within this mount only; opening and closing files gets cheaper");
  app.add_option("--threads", options.threads, "that serve the mount")
      ->check(CLI::Range(1u, 64u))
      ->capture_default_str();
  app.add_option("--log", options.log_path, "where the background process logs (syslog)");
  app.add_flag("--root", options.is_root,
               "for a root file system: outlives systemd's end and any shortage of memory");
  CLI::Option* unmount = app.add_option("--umount", arguments.unmount,
                                        "unmount DIR, and wait until everything is written");
  CLI::Option* list = app.add_flag("--list", arguments.list, "the devices, and their lanes");
  unmount->excludes(name)->excludes(list);
  list->excludes(name);
}

Outcome<void> Run(const Arguments& arguments) {
  if (arguments.list) return PrintDevices();
  if (!arguments.unmount.empty()) return Unmount(arguments.unmount);
  return Mount(arguments);
}

}  // namespace
}  // namespace prism::guest

int main(int argc, char** argv) {
  using namespace prism::guest;
  CLI::App app("Mounts a volume of the Prism server of this machine's host.", "prism-mount");
  app.footer(kFooter);
  Arguments arguments;
  AddOptions(app, arguments);
  try {
    app.parse(argc, argv);
    if (!arguments.list && arguments.unmount.empty() && arguments.mount.mount.volume.empty())
      throw CLI::RequiredError("NAME and DIR, --umount or --list");
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (arguments.mount.mount.is_root) {
    prism::mount::BecomeRootDaemon(argv[0]);
    arguments.mount.mount.connect_timeout_ms = kRootConnectTimeoutMs;
    arguments.mount.mount.patience_ms = kRootPatienceMs;
  }
  auto done = Run(arguments);
  if (done) return 0;
  fmt::print(stderr, "prism-mount: {}\n", done.error().message);
  return ExitCodeOf(done.error().code);
}
