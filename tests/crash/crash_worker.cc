// The process that is killed: opens a store and does what its script says.
//
// crash_worker MODE STORE FOLDER SEED EVENTS-FD stay|close honest|skip-sync
#include <dlfcn.h>
#include <execinfo.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fs/core/host.h"
#include "tests/crash/executor.h"
#include "tests/crash/worker.h"

namespace prism::crash {
namespace {

struct Arguments {
  std::string mode;
  std::string store;
  std::string folder;
  uint64_t seed = 0;
  int event_descriptor = -1;
  bool stay = false;
  bool skip_sync = false;
};

// Through the pipe, and into the log of writes if the shim is there (tests/crash/power_shim.cc).
class EventSink {
 public:
  explicit EventSink(int descriptor) : descriptor_(descriptor) {
    mark_ = reinterpret_cast<Mark*>(::dlsym(RTLD_DEFAULT, "prism_power_mark"));
  }
  void Tell(const Event& event) {
    if (mark_ != nullptr) mark_(&event, sizeof event);
    if (::write(descriptor_, &event, sizeof event) != sizeof event) ::_exit(3);
  }

 private:
  using Mark = void(const void*, size_t);
  const int descriptor_;
  Mark* mark_ = nullptr;
};

// Different in every run, so that checkpoints, flushes and evictions come at every place.
fs::HostOptions OptionsOf(const Arguments& arguments) {
  std::mt19937_64 rng(arguments.seed);
  fs::HostOptions options;
  options.directory = arguments.store;
  options.compression = static_cast<fs::Compression>(rng() % 3);
  options.node_cache_bytes = uint64_t{1} << (18 + rng() % 6);
  options.chunk_cache_bytes = uint64_t{1} << (18 + rng() % 6);
  options.dirty_bytes_max = uint64_t{1} << (20 + rng() % 6);
  options.flush_interval_ms = 10 + static_cast<uint32_t>(rng() % 500);
  options.checkpoint_interval_ms = 20 + static_cast<uint32_t>(rng() % 400);
  return options;
}

std::unique_ptr<fs::Host> OpenOrExit(const fs::HostOptions& options) {
  auto host = fs::Host::Open(options);
  if (host) return std::move(*host);
  fmt::print(stderr, "open: {}: {}\n", NameOf(host.error().code), host.error().message);
  std::exit(2);
}

void RunThread(fs::Host& host, fs::FileSystem* fs, const ThreadScript& script, uint32_t thread,
               bool skip_sync, EventSink& sink) {
  for (uint32_t i = 0; i < script.ops.size(); ++i) {
    const Op& op = script.ops[i];
    sink.Tell({Event::Kind::kBegin, thread, i, 0});
    Status status;
    if (skip_sync && (op.kind == OpKind::kFsync || op.kind == OpKind::kSync))
      status = {};
    else
      status = fs == nullptr ? RunOnHost(host, op) : Executor(*fs).Run(op);
    Err error = status ? Err::kOk : status.error();
    if (!status)
      fmt::print(stderr, "thread {}: op {} failed ({}): {}\n", thread, i, NameOf(error),
                 Describe(op));
    sink.Tell({Event::Kind::kEnd, thread, i, static_cast<uint32_t>(error)});
    if (!status) return;
  }
}

int Run(const Arguments& arguments) {
  EventSink sink(arguments.event_descriptor);
  Script script = DecodeScript(ReadWholeFile(arguments.folder + "/script"));
  std::unique_ptr<fs::Host> host = OpenOrExit(OptionsOf(arguments));
  sink.Tell({Event::Kind::kOpened, 0, 0, 0});
  std::map<std::string, std::shared_ptr<fs::FileSystem>> attached;
  for (const ThreadScript& thread : script) {
    if (thread.volume.empty() || attached.contains(thread.volume)) continue;
    auto fs = host->Attach(thread.volume, false);
    if (!fs) {
      fmt::print(stderr, "attach: {}\n", fs.error().message);
      return 2;
    }
    attached[thread.volume] = *fs;
  }
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < script.size(); ++i) {
    const ThreadScript& thread = script[i];
    fs::FileSystem* fs = thread.volume.empty() ? nullptr : attached[thread.volume].get();
    threads.emplace_back(
        [&, fs, i] { RunThread(*host, fs, script[i], i, arguments.skip_sync, sink); });
  }
  for (std::thread& thread : threads) thread.join();
  sink.Tell({Event::Kind::kDone, 0, 0, 0});
  while (arguments.stay) ::pause();
  attached.clear();
  host.reset();
  sink.Tell({Event::Kind::kClosed, 0, 0, 0});
  return 0;
}

int Dump(const Arguments& arguments) {
  std::unique_ptr<fs::Host> host = OpenOrExit(OptionsOf(arguments));
  std::string errors;
  Store store;
  {
    std::map<std::string, std::shared_ptr<fs::FileSystem>> attached;
    for (const fs::VolumeInfo& info : host->List()) {
      auto fs = host->Attach(info.name, false);
      if (fs)
        attached[info.name] = *fs;
      else
        errors += fmt::format("volume {}: {}\n", info.name, fs.error().message);
    }
    // Frees the files that were unlinked and open.
    if (Status drained = host->Drain(); !drained)
      errors += fmt::format("drain: {}\n", NameOf(drained.error()));
    for (auto& [name, fs] : attached) {
      auto info = host->Show(name);
      std::string problems;
      // A snapshot keeps what had been unlinked and was still open.
      std::optional<uint64_t> inodes;
      if (!info || info->snapshot_of == 0) inodes = info ? info->inodes : 0;
      store[name] = ReadVolume(*fs, inodes, problems);
      if (!problems.empty()) errors += fmt::format("volume {}: {}", name, problems);
    }
  }
  if (auto report = host->Check(true); !report)
    errors += report.error().message + "\n";
  else
    for (const std::string& damage : report->damages) errors += damage + "\n";
  std::ofstream(arguments.folder + "/errors") << errors;
  std::ofstream(arguments.folder + "/dump", std::ios::binary) << EncodeStore(store);
  return 0;
}

// Destroys everything: then nothing may be left.
int Empty(const Arguments& arguments) {
  std::unique_ptr<fs::Host> host = OpenOrExit(OptionsOf(arguments));
  std::string errors;
  std::vector<std::string> names;
  for (const fs::VolumeInfo& info : host->List()) names.push_back(info.name);
  if (auto destroyed = host->Destroy(names); !destroyed)
    errors += "destroy: " + destroyed.error().message + "\n";
  if (Status drained = host->Drain(); !drained)
    errors += fmt::format("drain: {}\n", NameOf(drained.error()));
  fs::StoreStats stats = host->Stats();
  if (stats.chunks != 0 || stats.nodes != 0 || stats.stored_bytes != 0 || stats.volumes != 0)
    errors += fmt::format("the empty store holds {} chunks, {} nodes, {} bytes, {} volumes\n",
                          stats.chunks, stats.nodes, stats.stored_bytes, stats.volumes);
  std::ofstream(arguments.folder + "/errors") << errors;
  return 0;
}

// Where it died, for the test's message.
void OnFault(int number) {
  void* frames[64];
  ::backtrace_symbols_fd(frames, ::backtrace(frames, 64), 2);
  ::signal(number, SIG_DFL);
  ::raise(number);
}

int Main(int argc, char** argv) {
  if (argc != 8) {
    fmt::print(stderr, "started by the tests of this folder alone\n");
    return 64;
  }
  for (int number : {SIGSEGV, SIGBUS, SIGABRT}) ::signal(number, OnFault);
  spdlog::set_default_logger(spdlog::stderr_logger_mt("crash-worker"));
  Arguments arguments{argv[1],
                      argv[2],
                      argv[3],
                      std::strtoull(argv[4], nullptr, 10),
                      std::atoi(argv[5]),
                      std::string(argv[6]) == "stay",
                      std::string(argv[7]) == "skip-sync"};
  if (arguments.mode == "run") return Run(arguments);
  if (arguments.mode == "dump") return Dump(arguments);
  if (arguments.mode == "empty") return Empty(arguments);
  if (arguments.mode == "open") {
    OpenOrExit(OptionsOf(arguments)).reset();
    return 0;
  }
  return 64;
}

}  // namespace
}  // namespace prism::crash

int main(int argc, char** argv) { return prism::crash::Main(argc, argv); }
