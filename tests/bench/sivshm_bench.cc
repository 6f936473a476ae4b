// Segmented inter-VM shared memory beside the classical kind: what it takes until every virtual
// machine can talk to the manager (the server), and how fast the manager's bytes come.
//
//   direct   Prism's server: a port, a segment and eventfds of its own for every VM; it is the
//            manager itself
//   central  for comparison: one distributor, the whole memory and everybody's eventfds for every
//            peer (central.h), the manager another process
//
// A peer's first round trip is, direct, its whole Hello and the answer, which opens its volume;
// central, one doorbell each way. Both use two eventfds a peer.
#include <netinet/in.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <bit>
#include <filesystem>
#include <functional>
#include <new>

#include "fs/core/host.h"
#include "tests/bench/central.h"
#include "tests/bench/measure.h"
#include "tests/bench/sivshm_qemu.h"
#include "tests/bench/sivshm_stream.h"
#include "vrpc/client.h"
#include "vrpc/doorbell.h"
#include "vrpc/handshake.h"
#include "vrpc/ring.h"
#include "vrpc/server.h"

namespace prism::bench {
namespace {

constexpr vrpc::Geometry kOneLane{.lanes = 1, .queues = 1};

std::string directory;
int ready_fd = -1;

pid_t Fork(const std::function<void()>& body) {
  std::fflush(stdout);
  pid_t child = ::fork();
  if (child < 0) Die("fork failed");
  if (child != 0) return child;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  body();
  std::_Exit(0);
}

void End(std::vector<pid_t>& processes) {
  // The latest first, so that nobody misses whom it talks to.
  for (; !processes.empty(); processes.pop_back()) {
    ::kill(processes.back(), SIGKILL);
    ::waitpid(processes.back(), nullptr, 0);
  }
}

Totals& NewTotals() {
  void* at =
      ::mmap(nullptr, sizeof(Totals), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) Die("no memory");
  return *new (at) Totals;
}

std::string LaneOf(uint32_t vm) { return fmt::format("{}/vm{}", directory, vm); }
std::string CentralPath() { return directory + "/central"; }

// Prism's server with a port for each VM, and a real volume.
void ServeDirect(uint32_t vms) {
  std::unique_ptr<fs::Host> host =
      Must(fs::Host::Open({.directory = directory + "/store"}), "host");
  if (auto made = host->Create("bench", false); !made && made.error().code != Err::kExists)
    Die(made.error().message);
  auto open = [&](const vrpc::OpenRequest& request) {
    return host->Attach(request.volume, request.importing);
  };
  std::unique_ptr<vrpc::Server> server = Must(vrpc::Server::Start(), "server");
  for (uint32_t vm = 0; vm < vms; ++vm)
    Must(server->AddPort({.name = fmt::format("vm{}", vm),
                          .path = LaneOf(vm),
                          .uid = ::geteuid(),
                          .geometry = kOneLane,
                          .opener = open,
                          .single = true}),
         "port");
  vrpc::Ring(ready_fd);
  ::pause();
}

// Either service, up and waiting for `peers`.
std::vector<pid_t> StartService(bool central, uint32_t peers, Totals& totals) {
  std::vector<pid_t> processes;
  if (central) {
    uint64_t bytes = std::bit_ceil((peers + 1) * vrpc::HeaderFor(kOneLane).segment_bytes);
    uint32_t vectors = kOneLane.vectors();
    processes.push_back(Fork([&] { Distribute(CentralPath(), bytes, vectors); }));
    processes.push_back(Fork([&] { Manage(CentralPath(), vectors, ready_fd, totals); }));
  } else {
    processes.push_back(Fork([&] { ServeDirect(peers); }));
  }
  vrpc::AwaitRing(ready_fd);
  return processes;
}

void Note(std::atomic<uint64_t>& count, std::atomic<uint64_t>& latest_ns) {
  uint64_t now = NowNs();
  for (uint64_t seen = latest_ns; seen < now && !latest_ns.compare_exchange_weak(seen, now);) {
  }
  ++count;
}

class PeerEndpoint final : public vrpc::Endpoint {
 public:
  PeerEndpoint(const Peer& peer, std::span<std::byte> memory) : peer_(peer), memory_(memory) {}
  std::span<std::byte> memory() const override { return memory_; }
  void RingServer(uint32_t vector) override { vrpc::Ring(Bell(kManagerId, vector)); }
  int EventFd(uint32_t vector) const override { return Bell(peer_.id, vector); }
  int lifeline() const override { return peer_.socket.get(); }
  Outcome<uint32_t> ClaimLane(uint32_t) override { return 0; }

 private:
  int Bell(int64_t peer, uint32_t vector) const { return peer_.vectors.at(peer)[vector].get(); }
  const Peer& peer_;
  const std::span<std::byte> memory_;
};

void BeDirectPeer(uint32_t vm, Totals& totals) {
  Peer self(LaneOf(vm));
  while (self.id < 0 || !self.Has(self.id, kOneLane.vectors())) self.ReceiveOne(totals);
  std::span<std::byte> memory{MapAll(self.memory.get()), vrpc::HeaderFor(kOneLane).segment_bytes};
  vrpc::Geometry geometry = Must(vrpc::CheckHeader(memory), "header");
  PeerEndpoint endpoint(self, memory);
  vrpc::Hello hello = vrpc::HelloFor("bench");
  hello.client = vrpc::RandomNumber();
  Must(vrpc::SayHello(endpoint, {memory.data(), geometry, 0}, 0, hello,
                      std::chrono::steady_clock::now() + std::chrono::minutes(1)),
       "hello");
  Note(totals.answered, totals.answered_ns);
  Note(totals.complete, totals.complete_ns);
}

void BeCentralPeer(uint32_t peers, Totals& totals) {
  const uint32_t vectors = kOneLane.vectors();
  Peer self(CentralPath());
  while (self.id < 0 || !self.Has(self.id, vectors)) self.ReceiveOne(totals);
  Desk& desk = reinterpret_cast<Desk*>(MapAll(self.memory.get()))[self.id];
  vrpc::Shared(desk.asked).store(1);
  vrpc::Ring(self.vectors[kManagerId][0].get());
  while (vrpc::Shared(desk.answered).load() == 0) vrpc::AwaitRing(self.vectors[self.id][0].get());
  Note(totals.answered, totals.answered_ns);
  for (int64_t other = 0; other <= peers; ++other)
    while (!self.Has(other, vectors)) self.ReceiveOne(totals);
  Note(totals.complete, totals.complete_ns);
}

struct Exchange {
  double answered_ms = 0, complete_ms = 0;
  uint64_t messages = 0, descriptors = 0;
};

Exchange RunPeers(bool central, uint32_t peers) {
  Totals& totals = NewTotals();
  std::vector<pid_t> processes = StartService(central, peers, totals);
  int gate[2];
  if (::pipe(gate) != 0) Die("no pipe");
  for (uint32_t peer = 0; peer < peers; ++peer)
    processes.push_back(Fork([&] {
      ::close(gate[1]);
      char byte;
      if (::read(gate[0], &byte, 1) != 0) Die("the gate");
      central ? BeCentralPeer(peers, totals) : BeDirectPeer(peer, totals);
      ::pause();
    }));
  ::close(gate[0]);
  ::usleep(100000 + 1000 * peers);  // all stand at the gate
  uint64_t start_ns = NowNs();
  ::close(gate[1]);
  while (totals.complete != peers) {
    if (NowNs() - start_ns > 90'000'000'000) Die("the peers do not get through");
    ::usleep(2000);
  }
  ::usleep(100000);  // what the manager still receives
  Exchange result{static_cast<double>(totals.answered_ns - start_ns) / 1e6,
                  static_cast<double>(totals.complete_ns - start_ns) / 1e6, totals.messages,
                  totals.descriptors};
  End(processes);
  ::munmap(&totals, sizeof totals);
  return result;
}

void MeasurePeers(uint32_t peers_max, uint32_t rounds) {
  PrintHeading(
      "Light-weight peers: a process each, all at once; milliseconds from the first connect");
  PrintTableHead({"peers", "messages central", "direct", "descriptors central", "direct",
                  "first round trips central", "direct", "all told, central", "direct",
                  "direct/central, round trips", "direct/central, all told"});
  for (uint32_t peers = 1; peers <= peers_max; peers *= 2) {
    Progress(fmt::format("{} peers", peers));
    Exchange last[2];
    Series answered[2], complete[2];
    for (uint32_t round = 0; round < rounds; ++round)
      for (bool central : {round % 2 == 0, round % 2 != 0}) {
        last[central] = RunPeers(central, peers);
        answered[central].Add(last[central].answered_ms);
        complete[central].Add(last[central].complete_ms);
      }
    PrintRow({std::to_string(peers), std::to_string(last[1].messages),
              std::to_string(last[0].messages), std::to_string(last[1].descriptors),
              std::to_string(last[0].descriptors), Figure(answered[1].Median()),
              Figure(answered[0].Median()), Figure(complete[1].Median()),
              Figure(complete[0].Median()), Figure(MedianRatio(answered[0], answered[1])),
              Figure(MedianRatio(complete[0], complete[1]))});
  }
}

QemuTimes RunQemus(bool central, uint32_t count) {
  Totals& totals = NewTotals();
  std::vector<pid_t> processes = StartService(central, count, totals);
  std::vector<Vm> vms(count);
  for (uint32_t vm = 0; vm < count; ++vm)
    vms[vm] = {.lane_path = central ? CentralPath() : LaneOf(vm),
               .qtest_path = fmt::format("{}/qtest{}", directory, vm)};
  QemuTimes times = central ? RunCentralVms(vms, kOneLane.vectors()) : RunDirectVms(vms, kOneLane);
  End(processes);
  ::munmap(&totals, sizeof totals);
  return times;
}

void MeasureQemus(uint32_t vms_max, uint32_t rounds) {
  PrintHeading("QEMU processes under TCG, all spawned at once; milliseconds from the first spawn");
  PrintTableHead({"VMs", "devices there, central", "direct", "round trips done, central", "direct",
                  "direct/central"});
  for (uint32_t count = 1; count <= vms_max; count *= 2) {
    Progress(fmt::format("{} QEMUs", count));
    Series up[2], done[2];
    for (uint32_t round = 0; round < rounds; ++round)
      for (bool central : {round % 2 == 0, round % 2 != 0}) {
        QemuTimes times = RunQemus(central, count);
        up[central].Add(times.up_ms);
        done[central].Add(times.done_ms);
      }
    PrintRow({std::to_string(count), Figure(up[1].Median()), Figure(up[0].Median()),
              Figure(done[1].Median()), Figure(done[0].Median()),
              Figure(MedianRatio(done[0], done[1]))});
  }
}

// Reads of a file through VRPC, a chunk a call: bytes per second.
double ReadVrpc(uint32_t chunks) {
  Totals& totals = NewTotals();
  std::vector<pid_t> processes = StartService(false, 1, totals);
  double rate = 0;
  {
    std::shared_ptr<vrpc::Client> client =
        Must(vrpc::Client::Connect(LaneOf(0), {.volume = "bench"}), "connect");
    constexpr uint32_t kFileChunks = 32;
    std::vector<std::byte> buffer(kChunkBytes, std::byte{5});
    auto made = Must(
        client->Create({}, {.parent = kRootInode, .name = fmt::format("f{}", NowNs())}), "create");
    for (uint32_t i = 0; i < kFileChunks; ++i)
      Must(client->Write(
               {}, {.ino = made.attr.ino, .offset = uint64_t{i} * kChunkBytes, .data = buffer}),
           "write");
    uint64_t start_ns = NowNs();
    for (uint32_t i = 0; i < chunks; ++i)
      Must(client->Read({}, made.attr.ino, uint64_t{i % kFileChunks} * kChunkBytes, buffer),
           "read");
    rate =
        static_cast<double>(chunks) * kChunkBytes * 1e9 / static_cast<double>(NowNs() - start_ns);
  }
  End(processes);
  ::munmap(&totals, sizeof totals);
  return rate;
}

void MeasureThroughput(uint32_t chunks, uint32_t rounds) {
  PrintHeading("Manager to worker, two processes, chunks of 1 MiB: GB/s");
  const vrpc::Geometry all{.lanes = 16, .queues = 1};
  Series segment, shared, tcp, vrpc;
  for (uint32_t round = 0; round < rounds; ++round) {
    for (bool own : {round % 2 == 0, round % 2 != 0}) {  // neither is always the first
      if (own) segment.Add(StreamThroughMemory(kOneLane, 0, chunks) / 1e9);
      if (!own) shared.Add(StreamThroughMemory(all, 11, chunks) / 1e9);
    }
    tcp.Add(StreamThroughTcp(chunks) / 1e9);
    vrpc.Add(ReadVrpc(chunks) / 1e9);
  }
  PrintTableHead({"through", "GB/s", "of the shared region", "of TCP"});
  auto row = [&](const char* name, const Series& series) {
    PrintRow({name, Figure(series.Median()), Figure(MedianRatio(series, shared)),
              Figure(MedianRatio(series, tcp))});
  };
  row("a segment of the worker's own", segment);
  row("a region that all workers share, at the worker's place", shared);
  row("TCP on the loopback", tcp);
  row("VRPC: READ from a file in the server's cache", vrpc);
}

void RaiseDescriptorLimit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace
}  // namespace prism::bench

int main(int argc, char** argv) {
  using namespace prism::bench;
  uint32_t peers = 256, vms = 32, rounds = 9, chunks = 2048;
  std::vector<std::string> parts = {"peers", "qemu", "throughput"};
  bool quick = false;
  CLI::App app("Segmented inter-VM memory beside a central distributor");
  app.add_option("--peers", peers, "most light-weight peers");
  app.add_option("--vms", vms, "most QEMUs");
  app.add_option("--rounds", rounds, "of each figure")->check(CLI::Range(1, 1000));
  app.add_option("--chunks", chunks, "MiB of a stream");
  app.add_option("--part", parts, "peers, qemu, throughput");
  app.add_flag("--quick", quick, "small versions");
  CLI11_PARSE(app, argc, argv);
  if (quick) peers = 16, vms = 2, rounds = 1, chunks = 256;
  spdlog::set_level(spdlog::level::err);
  RaiseDescriptorLimit();
  char pattern[] = "/tmp/prism-sivshm-XXXXXX";
  if (::mkdtemp(pattern) == nullptr) Die("no directory");
  directory = pattern;
  auto doorbell = Must(prism::vrpc::MakeDoorbell(), "eventfd");
  ready_fd = doorbell.get();
  for (const std::string& part : parts) {
    if (part == "peers") MeasurePeers(peers, rounds);
    if (part == "qemu") MeasureQemus(vms, rounds);
    if (part == "throughput") MeasureThroughput(chunks, rounds);
  }
  std::filesystem::remove_all(directory);
  return 0;
}
