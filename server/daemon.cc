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
#include <memory>

#include "fs/base/freed_memory.h"
#include "server/control_server.h"
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

nlohmann::json Describe(const std::vector<vrpc::LaneInfo>& lanes) {
  nlohmann::json result = nlohmann::json::array();
  for (const vrpc::LaneInfo& lane : lanes)
    result.push_back({{"id", lane.id},
                      {"port", lane.port},
                      {"lane", lane.lane},
                      {"attached", lane.attached},
                      {"sessions", lane.sessions},
                      {"drops", lane.drops},
                      {"drop_reason", lane.drop_reason},
                      {"volume", lane.volume},
                      {"importing", lane.importing},
                      {"pid", lane.pid},
                      {"uid", lane.uid},
                      {"connected_sec", lane.connected_sec},
                      {"waiting", lane.waiting},
                      {"calls", lane.calls},
                      {"errors", lane.errors},
                      {"read_bytes", lane.read_bytes},
                      {"written_bytes", lane.written_bytes}});
  return result;
}

Outcome<void> Serve(const Options& options, const sigset_t& signals) {
  const std::string lane_path = vrpc::LanePathFor(options.control_path);
  PRISM_ASSIGN(std::unique_ptr<fs::Host> host, fs::Host::Open(options.host));

  nfs3::Exports exports(*host);
  std::unique_ptr<NfsService> nfs;
  std::unique_ptr<vrpc::Server> lanes;  // nobody is served before it is there
  ControlServer control(
      {.host = *host,
       .vrpc_path = lane_path,
       .describe_lanes =
           [&lanes] { return lanes ? Describe(lanes->Lanes()) : nlohmann::json::array(); },
       .exports = &exports,
       .nfs_address = [&nfs] { return nfs ? std::optional(nfs->address()) : std::nullopt; }});
  PRISM_TRY(control.Bind(options.control_path));
  vrpc::ServerOptions lane_options;
  lane_options.workers = options.workers;
  lane_options.durability_epoch = host->WriteVerifier();
  PRISM_ASSIGN(lanes, vrpc::Server::Start(lane_options));
  PRISM_TRY(lanes->AddPort({.name = "general",
                            .path = lane_path,
                            .uid = geteuid(),
                            .opener = [&host](const vrpc::OpenRequest& request) {
                              return request.resume
                                         ? host->Resume(request.volume)
                                         : host->Attach(request.volume, request.importing);
                            }}));
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
  lanes.reset();
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
