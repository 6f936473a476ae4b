// NFSv3 calls to two servers in turn, Prism's and nfs-ganesha on ext4, by one load generator.
// tests/bench/nfs_bench.sh starts them and prepares what they need.
//
// Every row runs on both servers one after the other, first on one, in the next round first on the
// other, so that ratios hold although the machine drifts. Cold rows run after a restart of the
// server and a drop of the kernel's caches.
#include <time.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <regex>

#include "tests/bench/measure.h"
#include "tests/bench/nfs_jobs.h"
#include "tests/bench/nfs_load.h"

namespace prism::bench {
namespace {

struct Options {
  std::vector<std::string> servers;  // NAME:PORT:MOUNTPORT:PATH
  std::string hooks, json, shape;
  std::regex only{""};
  int entries = 10000;
  int file_mib = 64;
  int cold_random_reads = 500;
  int row_ms = 300;
  int rounds = 0;  // 0: the default
};

constexpr uint32_t kSmall = 4096;
constexpr uint32_t kLarge = 1 << 20;
constexpr int kColdFiles = 4;

// CPU time of all threads, of those that have ended too.
uint64_t CpuNsOf(pid_t pid) {
  clockid_t clock;
  timespec now{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &now) != 0)
    Die("the server has ended");
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

// One of the servers, with what has been prepared on it.
class Peer {
 public:
  Peer(const Options& options, const std::string& spec) : options_(options) {
    std::istringstream in(spec);
    std::string port, mount_port;
    std::getline(in, name_, ':');
    std::getline(in, port, ':');
    std::getline(in, mount_port, ':');
    std::getline(in, endpoint_.path);
    endpoint_.port = std::atoi(port.c_str());
    endpoint_.mount_port = std::atoi(mount_port.c_str());
    Connect();
  }

  void Prepare();
  // Fills the server's caches with what the rows that are not cold read.
  void Warm();
  void Restart() {
    load.Disconnect();
    if (std::system((options_.hooks + "/restart-" + name_).c_str()) != 0) Die("restart-" + name_);
    Connect();
  }
  uint64_t CpuNs() const { return CpuNsOf(pid_); }
  const std::string& name() const { return name_; }
  uint64_t file_bytes() const { return static_cast<uint64_t>(options_.file_mib) << 20; }

  Load load;
  std::string big_dir, durable_dir, plain_dir, read_file;
  std::vector<std::string> names, handles, write_files, cold_files;
  std::vector<std::string> created;  // by the last CREATE row, for REMOVE

 private:
  void Connect() {
    load.Connect(endpoint_, kMaxCalls);
    std::ifstream(options_.hooks + "/pids-" + name_) >> pid_;
  }
  std::string Lookup(const std::string& dir, const std::string& name) {
    std::vector<std::string> one = {name};
    LookupJob job(dir, one, true);
    load.Once(job);
    return job.handles.at(0);
  }
  std::string MakeDir(const std::string& name) {
    MakeDirJob job(load.root(), name);
    load.Once(job);
    return Lookup(load.root(), name);
  }
  std::vector<std::string> MakeFiles(const std::string& dir, const std::string& prefix, int count,
                                     std::vector<std::string>* file_names) {
    CreateJob create(dir, prefix, static_cast<size_t>(count));
    load.Run(create, kMaxCalls, 1, 600000);
    LookupJob lookup(dir, create.names, true);
    load.Once(lookup);
    if (file_names != nullptr) *file_names = create.names;
    return lookup.handles;
  }
  void Fill(const std::string& file) {
    std::vector<std::string> one = {file};
    WriteJob job(one, file_bytes(), kLarge, 16);
    job.Once();
    load.Once(job);
  }

  const Options& options_;
  std::string name_;
  Endpoint endpoint_;
  pid_t pid_ = 0;
};

void Peer::Prepare() {
  big_dir = MakeDir("big");
  durable_dir = MakeDir("durable");
  plain_dir = MakeDir("plain");
  std::string data_dir = MakeDir("data");
  handles = MakeFiles(big_dir, "file-with-a-name-", options_.entries, &names);
  write_files = MakeFiles(data_dir, "written", kMaxCalls, nullptr);
  cold_files = MakeFiles(data_dir, "cold", kColdFiles, nullptr);
  read_file = MakeFiles(data_dir, "read", 1, nullptr).at(0);
  for (const std::string& file : cold_files) Fill(file);
  Fill(read_file);
}

void Peer::Warm() {
  LookupJob lookup(big_dir, names, true);
  load.Run(lookup, kMaxCalls, 1, kSilenceMs);
  ReadJob read(read_file, file_bytes(), kLarge, true);
  load.Once(read);
}

using MakeJob = std::function<std::unique_ptr<Job>(Peer&)>;

struct Row {
  std::string name;
  MakeJob make;
  int connections = 1;
  int depth = 1;
  bool counted = false;  // ends by itself: no time limit, no warming up
  std::function<void(Peer&, Job&)> after = {};
  Series wall_us[2], cpu_us[2], client_us[2], p50_us[2], p99_us[2];
};

std::string ShapeOf(const Row& row) {
  std::string shape = std::to_string(row.connections);
  return row.depth > 1 ? shape + " x " + std::to_string(row.depth) : shape;
}

class NfsBench {
 public:
  explicit NfsBench(const Options& options) : options_(options) {
    for (const std::string& spec : options.servers) {
      peers_.push_back(std::make_unique<Peer>(options, spec));
      Progress("preparing " + peers_.back()->name());
      peers_.back()->Prepare();
    }
    const std::pair<int, int> shapes[] = {{1, 1}, {16, 1}, {1, 16}};
    for (auto [connections, depth] : shapes) AddRows(connections, depth);
    cold_from_ = rows_.size();
    AddColdRows(1, 0);
    AddColdRows(16, 2);
  }

  void RunRound(int round) {
    for (const auto& peer : peers_) peer->Warm();
    size_t first = static_cast<size_t>(round) % peers_.size();
    for (size_t at = 0; at < cold_from_; ++at) {
      if (!Wanted(rows_[at])) continue;
      for (size_t i = 0; i < peers_.size(); ++i) Measure(rows_[at], (i + first) % peers_.size());
    }
    if (!Wanted(rows_[cold_from_])) return;
    for (size_t i = 0; i < peers_.size(); ++i) RunCold((i + first) % peers_.size());
  }

  void Report() const;
  void WriteJson() const;

 private:
  template <typename Make>
  void Add(const std::string& name, int connections, int depth, Make make) {
    rows_.push_back({name, [make](Peer& peer) { return make(peer); }, connections, depth});
  }
  void AddRows(int connections, int depth);
  void AddCreateAndRemove(const std::string& note, std::string Peer::*dir, int connections,
                          int depth);
  void AddColdRows(int connections, size_t file);
  bool Wanted(const Row& row) const {
    return std::regex_search(row.name, options_.only) &&
           (options_.shape.empty() || options_.shape == ShapeOf(row));
  }
  void Measure(Row& row, size_t which);
  void RunCold(size_t which);

  const Options& options_;
  std::vector<std::unique_ptr<Peer>> peers_;
  std::vector<Row> rows_;
  size_t cold_from_ = 0;
  uint64_t serial_ = 0;  // makes created names new
};

template <typename JobType, typename... Arguments>
std::unique_ptr<Job> NewJob(Arguments&&... arguments) {
  return std::make_unique<JobType>(std::forward<Arguments>(arguments)...);
}

void NfsBench::AddRows(int connections, int depth) {
  auto add = [&](const std::string& name, auto make) { Add(name, connections, depth, make); };
  add("NULL", [](Peer&) { return NewJob<NullJob>(); });
  add("GETATTR", [](Peer& peer) { return NewJob<GetAttrJob>(peer.handles); });
  add("LOOKUP", [](Peer& peer) { return NewJob<LookupJob>(peer.big_dir, peer.names, false); });
  add("ACCESS", [](Peer& peer) { return NewJob<AccessJob>(peer.handles); });
  add("READDIRPLUS, each entry", [](Peer& peer) { return NewJob<ListJob>(peer.big_dir); });
  add("READ 4 KiB",
      [](Peer& peer) { return NewJob<ReadJob>(peer.read_file, peer.file_bytes(), kSmall, false); });
  add("READ 1 MiB",
      [](Peer& peer) { return NewJob<ReadJob>(peer.read_file, peer.file_bytes(), kLarge, false); });
  add("WRITE 4 KiB, COMMIT after 64",
      [](Peer& peer) { return NewJob<WriteJob>(peer.write_files, 16u << 20, kSmall, 64u); });
  add("WRITE 1 MiB, COMMIT after 16",
      [](Peer& peer) { return NewJob<WriteJob>(peer.write_files, 16u << 20, kLarge, 16u); });
  AddCreateAndRemove("", &Peer::durable_dir, connections, depth);
  AddCreateAndRemove(" (Ganesha: not durable)", &Peer::plain_dir, connections, depth);
}

void NfsBench::AddCreateAndRemove(const std::string& note, std::string Peer::*dir, int connections,
                                  int depth) {
  Add("CREATE" + note, connections, depth, [this, dir](Peer& peer) {
    return NewJob<CreateJob>((peer.*dir), "new" + std::to_string(++serial_) + "-", size_t{2000});
  });
  rows_.back().counted = true;
  rows_.back().after = [](Peer& peer, Job& job) {
    peer.created = static_cast<CreateJob&>(job).names;
  };
  Add("REMOVE" + note, connections, depth,
      [dir](Peer& peer) { return NewJob<RemoveJob>((peer.*dir), peer.created); });
  rows_.back().counted = true;
}

void NfsBench::AddColdRows(int connections, size_t file) {
  Add("READ 4 KiB, cold", connections, 1, [this, file](Peer& peer) {
    return NewJob<ReadJob>(peer.cold_files[file], peer.file_bytes(), kSmall, false,
                           static_cast<uint64_t>(options_.cold_random_reads));
  });
  rows_.back().counted = true;
  Add("READ 1 MiB, cold", connections, 1, [file](Peer& peer) {
    return NewJob<ReadJob>(peer.cold_files[file + 1], peer.file_bytes(), kLarge, true);
  });
  rows_.back().counted = true;
}

void NfsBench::RunCold(size_t which) {
  peers_[which]->Restart();
  for (size_t at = cold_from_; at < rows_.size(); ++at) Measure(rows_[at], which);
}

void NfsBench::Measure(Row& row, size_t which) {
  Peer& peer = *peers_[which];
  std::unique_ptr<Job> job = row.make(peer);
  if (!row.counted) peer.load.Run(*job, row.connections, row.depth, options_.row_ms / 8 + 1);
  uint64_t cpu_ns = peer.CpuNs();
  uint64_t client_ns = ThreadCpuNs();
  RowResult result = peer.load.Run(*job, row.connections, row.depth,
                                   row.counted ? 10 * options_.row_ms : options_.row_ms);
  auto operations = static_cast<double>(result.operations);
  if (result.operations == 0) Die(row.name + ": nothing done");
  row.client_us[which].Add(static_cast<double>(ThreadCpuNs() - client_ns) / 1e3 / operations);
  row.cpu_us[which].Add(static_cast<double>(peer.CpuNs() - cpu_ns) / 1e3 / operations);
  row.wall_us[which].Add(result.wall_us / operations);
  Series latencies;
  for (float latency_us : result.latencies_us) latencies.Add(static_cast<double>(latency_us));
  row.p50_us[which].Add(latencies.Median());
  row.p99_us[which].Add(latencies.Percentile(99));
  if (row.after) row.after(peer, *job);
}

void NfsBench::Report() const {
  bool both = peers_.size() == 2;
  std::vector<std::string> head = {"call", "connections"};
  for (const auto& peer : peers_) head.push_back(peer->name() + " us");
  if (both) head.push_back("ratio");
  for (const auto& peer : peers_) head.push_back(peer->name() + " CPU us");
  for (const auto& peer : peers_) head.push_back(peer->name() + " ops/s");
  for (const auto& peer : peers_) head.push_back(peer->name() + " p99 us");
  head.push_back("load CPU us");
  PrintTableHead(head);
  for (const Row& row : rows_) {
    if (row.wall_us[0].size() == 0) continue;
    std::vector<std::string> cells = {row.name, ShapeOf(row)};
    size_t count = peers_.size();
    for (size_t i = 0; i < count; ++i) cells.push_back(Figure(row.wall_us[i].Median()));
    if (both) cells.push_back("**" + Figure(MedianRatio(row.wall_us[0], row.wall_us[1])) + "**");
    for (size_t i = 0; i < count; ++i) cells.push_back(Figure(row.cpu_us[i].Median()));
    for (size_t i = 0; i < count; ++i) cells.push_back(Figure(1e6 / row.wall_us[i].Median()));
    for (size_t i = 0; i < count; ++i) cells.push_back(Figure(row.p99_us[i].Median()));
    cells.push_back(Figure(row.client_us[count - 1].Median()));
    PrintRow(cells);
  }
}

void NfsBench::WriteJson() const {
  nlohmann::json rows = nlohmann::json::array();
  for (const Row& row : rows_) {
    for (size_t i = 0; i < peers_.size() && row.wall_us[i].size() > 0; ++i) {
      rows.push_back({{"call", row.name},
                      {"server", peers_[i]->name()},
                      {"connections", row.connections},
                      {"outstanding", row.depth},
                      {"wall_us", row.wall_us[i].values()},
                      {"server_cpu_us", row.cpu_us[i].values()},
                      {"client_cpu_us", row.client_us[i].values()},
                      {"p50_us", row.p50_us[i].values()},
                      {"p99_us", row.p99_us[i].values()}});
    }
  }
  std::ofstream(options_.json) << rows.dump(1) << "\n";
}

int Run(int argc, char** argv) {
  Options options;
  bool quick = false;
  CLI::App app{"NFSv3 benchmark: prints a section of Markdown. Run by nfs_bench.sh"};
  app.add_option("--server", options.servers,
                 "one or two of NAME:PORT:MOUNTPORT:PATH; ratio is 1st : 2nd")
      ->required()
      ->expected(1, 2);
  app.add_option("--hooks", options.hooks, "directory with pids-NAME and the command restart-NAME")
      ->required();
  app.add_option("--json", options.json, "write the figures of every round to this file");
  app.add_option_function<std::string>(
      "--only", [&](const std::string& pattern) { options.only = pattern; },
      "only rows in whose name this regular expression matches");
  app.add_option("--row-ms", options.row_ms, "how long a row runs on a server in a round (300)");
  app.add_option("--shape", options.shape, "only rows with these connections: 1, 16 or \"1 x 16\"");
  app.add_option("--cold-reads", options.cold_random_reads, "how many small ones (500)");
  app.add_option("--rounds", options.rounds, "how often each row runs (7; with --quick 3)");
  app.add_flag("--quick", quick, "fewer and smaller");
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    options.entries = 2000;
    options.file_mib = 16;
    options.cold_random_reads = 200;
    options.row_ms = 100;
  }
  if (options.rounds == 0) options.rounds = quick ? 3 : 7;
  NfsBench bench(options);
  for (int round = 0; round < options.rounds; ++round) {
    Progress("round " + std::to_string(round + 1) + " of " + std::to_string(options.rounds));
    bench.RunRound(round);
  }
  PrintHeading("NFSv3 calls, microseconds an operation");
  bench.Report();
  if (!options.json.empty()) bench.WriteJson();
  return 0;
}

}  // namespace
}  // namespace prism::bench

int main(int argc, char** argv) { return prism::bench::Run(argc, argv); }
