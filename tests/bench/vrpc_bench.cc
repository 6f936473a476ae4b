// What an empty call costs: over a VRPC lane, over a UNIX stream socket, and over loopback TCP with
// TCP_NODELAY, each between two processes, interleaved in one run so that all see the same machine.
//
// Prints a table and, with --json FILE, the same numbers. CPU is that of each process for the whole
// phase, per call. "idle" puts a pause before every call, so that both sides are asleep. "apart"
// binds client and server to a core each, as with a virtual machine; "free" leaves them to the
// kernel, which may put both on one core, where sockets are at their best. "polls" is a client as
// in a guest without interrupts, which has no eventfds. First, what clients cost that stand idle.
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "fs/core/host.h"
#include "vrpc/client.h"
#include "vrpc/server.h"
#include "vrpc/socket_endpoint.h"
#include "vrpc/sockets.h"
#include "vrpc/spin.h"

namespace prism::vrpc {
namespace {

constexpr size_t kSocketMessageBytes = 64;

[[noreturn]] void Die(const std::string& what) {
  std::fprintf(stderr, "vrpc_bench: %s\n", what.c_str());
  std::_Exit(1);
}

// A process that serves until it is killed, and what calls it.
struct Transport {
  std::string name;
  pid_t server = 0;
  std::function<void()> call;
};

// Binds this thread, and those it starts, to one core.
void Bind(int core) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(core, &set);
  if (::sched_setaffinity(0, sizeof set, &set) != 0) Die("cannot bind to a core");
}

bool bind_apart = false;  // client on core 0, servers on core 1

pid_t Fork(const std::function<void()>& body) {
  std::fflush(stdout);  // the child must not print it again
  pid_t child = ::fork();
  if (child < 0) Die("fork failed");
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (bind_apart) Bind(1);
  body();
  std::_Exit(0);
}

void Exchange(int fd, bool first_send) {
  char bytes[kSocketMessageBytes] = {};
  if (first_send && ::send(fd, bytes, sizeof bytes, 0) != sizeof bytes) Die("send failed");
  if (::recv(fd, bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes) {
    if (first_send) Die("the echo server went away");
    std::_Exit(0);
  }
  if (!first_send && ::send(fd, bytes, sizeof bytes, 0) != sizeof bytes) std::_Exit(1);
}

Transport OverSocket(const std::string& name, int client_fd,
                     const std::function<int()>& server_fd) {
  Transport transport;
  transport.name = name;
  transport.server = Fork([&] {
    int fd = server_fd();
    for (;;) Exchange(fd, false);
  });
  transport.call = [client_fd] { Exchange(client_fd, true); };
  return transport;
}

Transport OverUnixSocket() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) Die("socketpair failed");
  Transport transport = OverSocket("unix", fds[0], [&] {
    ::close(fds[0]);
    return fds[1];
  });
  ::close(fds[1]);
  return transport;
}

Transport OverTcp() {
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener, 1) != 0 ||
      ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0)
    Die("cannot listen on loopback");
  int client = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;
  ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  if (::connect(client, reinterpret_cast<sockaddr*>(&address), length) != 0)
    Die("cannot connect to loopback");
  Transport transport = OverSocket("tcp", client, [&] {
    int fd = ::accept(listener, nullptr, nullptr);
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    ::close(client);
    return fd;
  });
  ::close(listener);
  return transport;
}

// A real server with a real volume in a process of its own. The client forks nothing afterwards.
pid_t StartVrpcServer(const std::string& directory) {
  return Fork([&] {
    spdlog::set_level(spdlog::level::warn);
    auto host = fs::Host::Open({.directory = directory + "/store"});
    if (!host) Die(host.error().message);
    auto volume = (*host)->Create("bench", false);
    if (!volume) Die(volume.error().message);
    auto open = [&](const OpenRequest& request) {
      return (*host)->Attach(request.volume, request.importing);
    };
    auto server = Server::Start();
    if (!server) Die(server.error().message);
    auto port = (*server)->AddPort({.name = "bench",
                                    .path = LanePathFor(directory + "/control"),
                                    .uid = ::geteuid(),
                                    .opener = open});
    if (!port) Die(port.error().message);
    ::pause();
  });
}

// A channel without what a guest does not have that has only mapped its device.
class MappedEndpoint final : public Endpoint {
 public:
  explicit MappedEndpoint(std::unique_ptr<Endpoint> channel) : channel_(std::move(channel)) {}
  std::span<std::byte> memory() const override { return channel_->memory(); }
  void RingServer(uint32_t vector) override { channel_->RingServer(vector); }
  int EventFd(uint32_t) const override { return -1; }
  int lifeline() const override { return -1; }
  Outcome<uint32_t> ClaimLane(uint32_t lanes) override { return channel_->ClaimLane(lanes); }

 private:
  const std::unique_ptr<Endpoint> channel_;
};

std::shared_ptr<Client> ConnectVrpc(const std::string& directory, uint32_t spin_us,
                                    bool mapped = false) {
  const std::string path = LanePathFor(directory + "/control");
  EndpointFactory factory = SocketEndpoint::FactoryFor(path);
  if (mapped)
    factory = [path](Deadline deadline) -> Outcome<std::unique_ptr<Endpoint>> {
      PRISM_ASSIGN(std::unique_ptr<Endpoint> channel, SocketEndpoint::Connect(path, deadline));
      return std::make_unique<MappedEndpoint>(std::move(channel));
    };
  for (int attempt = 0; attempt < 500; ++attempt) {
    auto client = Client::Connect(factory, {.volume = "bench", .spin_us_max = spin_us});
    if (client) return *client;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  Die("the VRPC server does not come up");
}

double CpuSeconds(pid_t process) {
  clockid_t clock;
  timespec time{};
  if (::clock_getcpuclockid(process, &clock) != 0 || ::clock_gettime(clock, &time) != 0)
    Die("cannot read a process's CPU time");
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Series {
  std::vector<uint32_t> latency_ns;
  double client_cpu_seconds = 0;
  double server_cpu_seconds = 0;
};

void Measure(const Transport& transport, uint32_t calls, uint32_t pause_us, Series& series) {
  for (int i = 0; i < 100; ++i) transport.call();
  double client_cpu = CpuSeconds(::getpid()), server_cpu = CpuSeconds(transport.server);
  for (uint32_t i = 0; i < calls; ++i) {
    if (pause_us != 0) std::this_thread::sleep_for(std::chrono::microseconds(pause_us));
    uint64_t start_ns = NowNs();
    transport.call();
    series.latency_ns.push_back(static_cast<uint32_t>(NowNs() - start_ns));
  }
  series.client_cpu_seconds += CpuSeconds(::getpid()) - client_cpu;
  series.server_cpu_seconds += CpuSeconds(transport.server) - server_cpu;
}

double Percentile(const std::vector<uint32_t>& sorted, double fraction) {
  return sorted[static_cast<size_t>(fraction * static_cast<double>(sorted.size() - 1))] / 1000.0;
}

nlohmann::json Report(const std::string& name, const std::string& phase, Series& series) {
  std::sort(series.latency_ns.begin(), series.latency_ns.end());
  double calls = static_cast<double>(series.latency_ns.size());
  nlohmann::json row = {{"transport", name},
                        {"phase", phase},
                        {"calls", series.latency_ns.size()},
                        {"p50_us", Percentile(series.latency_ns, 0.5)},
                        {"p99_us", Percentile(series.latency_ns, 0.99)},
                        {"p999_us", Percentile(series.latency_ns, 0.999)},
                        {"client_cpu_us", series.client_cpu_seconds * 1e6 / calls},
                        {"server_cpu_us", series.server_cpu_seconds * 1e6 / calls}};
  std::printf("%-20s %-10s %9.2f %9.2f %9.2f %12.2f %12.2f\n", name.c_str(), phase.c_str(),
              row["p50_us"].get<double>(), row["p99_us"].get<double>(),
              row["p999_us"].get<double>(), row["client_cpu_us"].get<double>(),
              row["server_cpu_us"].get<double>());
  return row;
}

struct Options {
  uint32_t calls = 20000;
  uint32_t rounds = 5;
  uint32_t idle_calls = 300;
  uint32_t pause_us = 2000;
  uint32_t idle_seconds = 10;
  std::string json_path;
};

// All transports with one placement; returns how many times TCP's p50 is VRPC's.
double RunPlacement(const Options& options, const std::string& directory, nlohmann::json& rows) {
  const std::string placement = bind_apart ? "apart" : "free";
  std::vector<Transport> transports = {OverTcp(), OverUnixSocket()};
  std::filesystem::create_directory(directory);
  pid_t server = StartVrpcServer(directory);
  if (bind_apart) Bind(0);
  std::shared_ptr<Client> polling = ConnectVrpc(directory, 50);
  std::shared_ptr<Client> sleeping = ConnectVrpc(directory, 0);
  std::shared_ptr<Client> mapped = ConnectVrpc(directory, 50, true);
  auto add = [&](const char* name, std::function<bool()> call) {
    auto checked = [call = std::move(call), name] {
      if (!call()) Die(std::string(name) + " failed");
    };
    transports.push_back({name, server, checked});
  };
  add("vrpc", [&] { return polling->Null().has_value(); });
  add("vrpc, client sleeps", [&] { return sleeping->Null().has_value(); });
  add("vrpc, client polls", [&] { return mapped->Null().has_value(); });
  add("vrpc getattr", [&] { return polling->Getattr({}, kRootInode).has_value(); });

  std::vector<Series> busy(transports.size()), idle(transports.size());
  for (uint32_t round = 0; round < options.rounds; ++round) {
    for (size_t i = 0; i < transports.size(); ++i) {
      Measure(transports[i], options.calls / options.rounds, 0, busy[i]);
      Measure(transports[i], options.idle_calls / options.rounds, options.pause_us, idle[i]);
    }
  }
  for (size_t i = 0; i < transports.size(); ++i) {
    rows.push_back(Report(transports[i].name, placement + " busy", busy[i]));
    rows.push_back(Report(transports[i].name, placement + " idle", idle[i]));
  }
  for (std::shared_ptr<Client>* client : {&polling, &sleeping, &mapped}) client->reset();
  for (const Transport& transport : transports) ::kill(transport.server, SIGKILL);
  while (::waitpid(-1, nullptr, 0) > 0) {
  }
  return Percentile(busy[0].latency_ns, 0.5) / Percentile(busy[2].latency_ns, 0.5);
}

// CPU milliseconds, of both sides, for doing nothing on so many lanes.
nlohmann::json IdleCost(const Options& options, const std::string& directory, uint32_t lanes,
                        bool mapped) {
  std::filesystem::create_directory(directory);
  pid_t server = StartVrpcServer(directory);
  std::vector<std::shared_ptr<Client>> clients;
  for (uint32_t i = 0; i < lanes; ++i) {
    clients.push_back(ConnectVrpc(directory, 50, mapped));
    if (!clients.back()->Null()) Die("an idle lane does not work");
  }
  std::this_thread::sleep_for(std::chrono::seconds(1));  // the server's own start
  double client_cpu = CpuSeconds(::getpid()), server_cpu = CpuSeconds(server);
  std::this_thread::sleep_for(std::chrono::seconds(options.idle_seconds));
  client_cpu = CpuSeconds(::getpid()) - client_cpu;
  server_cpu = CpuSeconds(server) - server_cpu;
  clients.clear();
  ::kill(server, SIGKILL);
  ::waitpid(server, nullptr, 0);
  const char* mode = mapped ? "polling" : "eventfd";
  std::printf("%u idle lanes, %s, %u s: CPU of the clients %.2f ms, of the server %.2f ms\n", lanes,
              mode, options.idle_seconds, client_cpu * 1e3, server_cpu * 1e3);
  return {{"mode", mode},
          {"lanes", lanes},
          {"seconds", options.idle_seconds},
          {"client_cpu_ms", client_cpu * 1e3},
          {"server_cpu_ms", server_cpu * 1e3}};
}

void Run(const Options& options, const std::string& directory) {
  std::printf("%-20s %-10s %9s %9s %9s %12s %12s\n", "us per call", "phase", "p50", "p99", "p99.9",
              "client CPU", "server CPU");
  nlohmann::json report = {{"idle", nlohmann::json::array()},
                           {"cores", std::thread::hardware_concurrency()},
                           {"rows", nlohmann::json::array()}};
  // None first: the engine has threads that look after themselves.
  report["idle"].push_back(IdleCost(options, directory + "/idle", 0, false));
  for (bool mapped : {false, true})
    report["idle"].push_back(
        IdleCost(options, directory + (mapped ? "/idle-polling" : "/idle-eventfd"), 10, mapped));
  double free_factor = RunPlacement(options, directory + "/free", report["rows"]);
  report["tcp_over_vrpc_p50_free"] = free_factor;
  std::printf("free: an empty VRPC call is %.1f times as fast as loopback TCP (p50)\n",
              free_factor);
  if (std::thread::hardware_concurrency() > 1) {
    bind_apart = true;
    double apart_factor = RunPlacement(options, directory + "/apart", report["rows"]);
    report["tcp_over_vrpc_p50_apart"] = apart_factor;
    std::printf("apart: an empty VRPC call is %.1f times as fast as loopback TCP (p50)\n",
                apart_factor);
  }
  if (!options.json_path.empty()) std::ofstream(options.json_path) << report.dump(2) << "\n";
}

}  // namespace
}  // namespace prism::vrpc

int main(int argc, char** argv) {
  prism::vrpc::Options options;
  CLI::App app("Cost of an empty call over VRPC, UNIX sockets and loopback TCP");
  app.add_option("--calls", options.calls, "busy calls per transport");
  app.add_option("--idle-calls", options.idle_calls, "calls after a pause, per transport");
  app.add_option("--pause-us", options.pause_us, "that pause");
  app.add_option("--rounds", options.rounds, "interleaved rounds")->check(CLI::Range(1, 1000));
  app.add_option("--idle-seconds", options.idle_seconds, "how long idle lanes are watched");
  app.add_option("--json", options.json_path, "also write the numbers here");
  CLI11_PARSE(app, argc, argv);
  spdlog::set_level(spdlog::level::warn);
  char directory[] = "/tmp/prism-vrpc-bench-XXXXXX";
  if (::mkdtemp(directory) == nullptr) return 1;
  prism::vrpc::Run(options, directory);
  std::filesystem::remove_all(directory);
  return 0;
}
