#include "server/daemon.h"

#include <pthread.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "fs/base/freed_memory.h"
#include "fs/core/snapshot_view.h"
#include "server/control_server.h"
#include "server/fd_store.h"
#include "server/lane_report.h"
#include "server/vm_ports.h"
#include "vrpc/server.h"
#include "vrpc/sockets.h"

namespace prism::server {
namespace {

// To stderr; journald takes the level from a prefix and knows the time.
void StartLog(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("prismd");
  logger->set_level(spdlog::level::from_str(level));
  logger->flush_on(spdlog::level::trace);
  if (std::getenv("JOURNAL_STREAM")) logger->set_pattern("%l: %v");
  spdlog::set_default_logger(logger);
}

// Each lane takes a few descriptors, each file of the store one.
void RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

std::string VmDirectoryOf(const Options& options) {
  // The paths are for other programs, in other directories.
  std::error_code error;
  const std::filesystem::path path =
      options.vm_directory.empty()
          ? std::filesystem::path(options.control_path).parent_path() / "vms"
          : std::filesystem::path(options.vm_directory);
  return std::filesystem::absolute(path, error).lexically_normal();
}

Outcome<std::unique_ptr<vrpc::Server>> StartLanes(const Options& options, fs::Host& host) {
  vrpc::ServerOptions lane_options;
  lane_options.workers = options.workers;
  lane_options.durability_epoch = host.WriteVerifier();
  return vrpc::Server::Start(lane_options);
}

// For the clients of this host: any volume.
Outcome<void> AddHostPort(vrpc::Server& lanes, const std::string& path, fs::Host& host) {
  return lanes.AddPort(
      {.name = kHostPort,
       .path = path,
       .uid = geteuid(),
       .opener =
           [&host](const vrpc::OpenRequest& request) -> Outcome<std::shared_ptr<fs::FileSystem>> {
         if (request.importing) return host.Attach(request.volume, true);
         PRISM_ASSIGN(const fs::VolumeInfo volume, host.Show(request.volume));
         PRISM_ASSIGN(std::shared_ptr<fs::FileSystem> fs,
                      request.resume ? host.Resume(volume.id) : host.Attach(volume.id));
         if (!request.snapshots) return fs;
         return fs::WithSnapshots(host, volume.id, std::move(fs),
                                  [](const fs::VolumeInfo&) { return true; });
       }});
}

Outcome<void> Serve(const Options& options, const sigset_t& signals) {
  const std::string lane_path = vrpc::LanePathFor(options.control_path);
  PRISM_ASSIGN(std::unique_ptr<fs::Host> host, fs::Host::Open(options.host));

  PRISM_ASSIGN(std::unique_ptr<vrpc::Server> lanes, StartLanes(options, *host));
  const std::unique_ptr<FdStore> fd_store = OpenFdStore(options.control_path);
  VmPorts vms(*host, *lanes, *fd_store, VmDirectoryOf(options));
  nfs3::Exports exports(*host);
  std::unique_ptr<NfsService> nfs;
  ControlServer control(
      {.host = *host,
       .vrpc_path = lane_path,
       .describe_lanes = [&lanes] { return DescribeLanes(lanes->Lanes()); },
       .exports = &exports,
       .nfs_address = [&nfs] { return nfs ? std::optional(nfs->address()) : std::nullopt; },
       .vms = &vms});
  // Also tells whether another server is there, before anything of it is touched.
  PRISM_TRY(control.Bind(options.control_path));
  PRISM_TRY(AddHostPort(*lanes, lane_path, *host));
  PRISM_TRY(vms.Restore());
  if (!options.nfs.listen.empty()) {
    PRISM_ASSIGN(nfs, NfsService::Start(*host, exports, options.nfs));
  }
  control.Start();
  spdlog::info(
      "ready: store {}, {} volumes, control socket {}{}", options.host.directory,
      host->List().size(), options.control_path,
      nfs ? fmt::format(", NFS at {} port {}", nfs->address().Text(), nfs->address().port) : "");
  sd_notifyf(0, "READY=1\nSTATUS=serving %s", options.host.directory.c_str());

  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("stopping: {}", strsignal(signal));
  sd_notify(0, "STOPPING=1");
  control.Stop();
  nfs.reset();
  host->KeepOrphans();
  lanes->Stop();
  host.reset();
  spdlog::info("stopped");
  return {};
}

}  // namespace

int RunDaemon(const Options& options) {
  KeepFreedMemory();
  StartLog(options.log_level);
  RaiseDescriptorLimit();
  std::signal(SIGPIPE, SIG_IGN);
  // Blocked before any thread begins, so that all inherit it and only Serve waits for them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  Outcome<void> outcome = Serve(options, signals);
  if (!outcome) {
    spdlog::error("{}", outcome.error().message);
    return 1;
  }
  return 0;
}

}  // namespace prism::server
