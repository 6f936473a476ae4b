// What a clone costs: latency by size and depth, bytes written, the first access after it, destroy.
//
// All sources are in one store and are cloned in turn, so that a drift of the machine meets every
// size and depth alike; "flat" compares the medians of one and the same run.
#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <filesystem>
#include <thread>

#include "fs/base/freed_memory.h"
#include "tests/bench/measure.h"
#include "tests/bench/tree.h"

namespace prism::bench {
namespace {

struct Options {
  std::string store = "/var/tmp/prism-bench-clone";
  std::string memory_store = "/dev/shm/prism-bench-clone";
  std::vector<uint64_t> sizes = {100, 10000, 1000000};
  std::vector<int> depths = {1, 10, 1000};
  int rounds = 300;
};

struct Source {
  uint64_t files = 0;
  int depth = 0;
  std::string volume;
  Series wall_us;
  Series cpu_us;
};

class CloneBench {
 public:
  CloneBench(const Options& options, const std::string& directory)
      : options_(options), directory_(directory) {
    fs::HostOptions host;
    host.directory = FreshStore(directory);
    host_ = Must(fs::Host::Open(host), "open");
    for (uint64_t files : options.sizes) MakeFamily(files);
    Must(host_->Flush(), "flush");
    Must(host_->Checkpoint(), "checkpoint");
  }
  ~CloneBench() {
    host_.reset();
    std::filesystem::remove_all(directory_);
  }

  std::vector<Source>& sources() { return sources_; }
  fs::Host& host() { return *host_; }

  std::string CloneOnce(const std::string& volume) {
    std::string name = "c" + std::to_string(next_++);
    Must(host_->Clone(volume, {name}), "clone");
    return name;
  }

  void MeasureLatency() {
    for (int round = 0; round < options_.rounds; ++round) {
      for (size_t i = 0; i < sources_.size(); ++i) {
        Source& source = sources_[(i + static_cast<size_t>(round)) % sources_.size()];
        Stopwatch watch;
        CloneOnce(source.volume);
        source.wall_us.Add(watch.WallUs());
        source.cpu_us.Add(watch.ThreadUs());
      }
    }
  }

 private:
  // A base, and below it a chain of clones in which each changed something.
  void MakeFamily(uint64_t files) {
    Progress("making a volume of " + std::to_string(files) + " files, and a chain of clones");
    std::string volume = "base" + std::to_string(files);
    Must(host_->Create(volume, false), "create");
    SmallTree tree = MakeSmallTree(*AttachTo(*host_, volume), files, 64);
    Random random(files);
    int deepest = *std::max_element(options_.depths.begin(), options_.depths.end());
    for (int depth = 1; depth <= deepest; ++depth) {
      std::string next = "v" + std::to_string(files) + "-" + std::to_string(depth);
      Must(host_->Clone(volume, {next}), "clone");
      volume = next;
      fs::SetAttr change;
      change.mtime_now = true;
      InodeId ino = tree.files[random.Below(files)];
      Must(AttachTo(*host_, volume)->Setattr({}, ino, change), "setattr");
      if (std::count(options_.depths.begin(), options_.depths.end(), depth) > 0)
        sources_.push_back({files, depth, volume, {}, {}});
    }
  }

  const Options& options_;
  std::string directory_;
  std::unique_ptr<fs::Host> host_;
  std::vector<Source> sources_;
  uint64_t next_ = 0;
};

// One synced write of 256 bytes into allocated blocks: what durability costs on this disk at least.
Series MeasureSyncFloor(const std::string& directory, int rounds) {
  std::filesystem::create_directories(directory);
  std::string path = directory + "/floor";
  int descriptor = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) Die("cannot make " + path);
  std::vector<char> bytes(1 << 20, 'x');
  Series series;
  if (pwrite(descriptor, bytes.data(), bytes.size(), 0) < 0 || fsync(descriptor) != 0) Die("write");
  for (int round = 0; round < rounds; ++round) {
    Stopwatch watch;
    if (pwrite(descriptor, bytes.data(), 256, (round * 256) % (1 << 20)) != 256) Die("pwrite");
    if (fdatasync(descriptor) != 0) Die("fdatasync");
    series.Add(watch.WallUs());
  }
  close(descriptor);
  unlink(path.c_str());
  return series;
}

std::string Flatness(const std::vector<Source>& sources) {
  double low = 0, high = 0;
  for (const Source& source : sources) {
    double median = source.wall_us.Median();
    low = low == 0 ? median : std::min(low, median);
    high = std::max(high, median);
  }
  return Figure((high / low - 1) * 100) + " %";
}

void ReportLatency(CloneBench& disk, CloneBench& memory, const Series& floor) {
  PrintHeading("Latency of one clone, microseconds (durable when it returns)");
  PrintTableHead({"files in the source", "depth of the source", "p50", "p99", "CPU p50",
                  "without the disk p50", "without the disk p99"});
  for (size_t i = 0; i < disk.sources().size(); ++i) {
    const Source& source = disk.sources()[i];
    const Source& fast = memory.sources()[i];
    PrintRow({Figure(static_cast<double>(source.files)), std::to_string(source.depth),
              Figure(source.wall_us.Median()), Figure(source.wall_us.Percentile(99)),
              Figure(source.cpu_us.Median()), Figure(fast.wall_us.Median()),
              Figure(fast.wall_us.Percentile(99))});
  }
  PrintText("");
  PrintText("- Largest median over smallest: +" + Flatness(disk.sources()) + " on disk, +" +
            Flatness(memory.sources()) +
            " without the disk (the same store on tmpfs, where a "
            "sync costs nothing).");
  PrintText("- One synced 256-byte overwrite on the same disk: p50 " + Figure(floor.Median()) +
            ", p99 " + Figure(floor.Percentile(99)) + " us.");
}

// Records and bytes: counted over many clones, between two checkpoints.
void ReportWrites(CloneBench& bench, int rounds) {
  fs::Host& host = bench.host();
  Must(host.Checkpoint(), "checkpoint");
  uint64_t records = host.Stats().journal_records;
  uint64_t bytes = WrittenBytes();
  const std::string& volume = bench.sources().back().volume;
  for (int i = 0; i < rounds; ++i) bench.CloneOnce(volume);
  double journal = static_cast<double>(WrittenBytes() - bytes) / rounds;
  records = host.Stats().journal_records - records;
  bytes = WrittenBytes();
  Must(host.Checkpoint(), "checkpoint");
  double rows = static_cast<double>(WrittenBytes() - bytes) / rounds;
  PrintText("- Written for each clone: " + Figure(static_cast<double>(records) / rounds) +
            " journal record, " + Figure(journal) +
            " bytes to the journal; at the next checkpoint " + Figure(rows) + " bytes to RocksDB.");
}

void ReportMany(CloneBench& bench) {
  Series wall_ms;
  for (int run = 0; run < 5; ++run) {
    std::vector<std::string> names;
    for (int i = 0; i < 1000; ++i)
      names.push_back("m" + std::to_string(run) + "-" + std::to_string(i));
    Stopwatch watch;
    Must(bench.host().Clone(bench.sources().back().volume, names), "clone 1000");
    wall_ms.Add(watch.WallUs() / 1e3);
    Must(bench.host().Destroy(names), "destroy 1000");
  }
  PrintText("- 1,000 clones in one call: median of 5 runs " + Figure(wall_ms.Median()) +
            " ms, worst " + Figure(wall_ms.Percentile(100)) + " ms.");
}

// The source is attached, and another thread changes it without pause.
void ReportLive(CloneBench& bench, int rounds) {
  const Source& source = bench.sources()[bench.sources().size() / 2];
  std::string volume = bench.CloneOnce(source.volume);
  std::shared_ptr<fs::FileSystem> file_system = AttachTo(bench.host(), volume);
  std::atomic<bool> stop{false};
  std::atomic<uint64_t> written{0};
  std::thread writer([&] {
    for (uint64_t i = 0; !stop; ++i) {
      std::string name = "live" + std::to_string(i);
      fs::CreateArgs args;
      args.parent = kRootInode;
      args.name = name;
      args.mode = 0644;
      Must(file_system->Create({}, args), "create");
      ++written;
    }
  });
  Series wall_us;
  for (int i = 0; i < rounds; ++i) {
    Stopwatch watch;
    bench.CloneOnce(volume);
    wall_us.Add(watch.WallUs());
  }
  stop = true;
  writer.join();
  PrintText("- Of a source that another thread fills with files meanwhile (" +
            Figure(static_cast<double>(written) / rounds) + " files for each clone): p50 " +
            Figure(wall_us.Median()) + ", p99 " + Figure(wall_us.Percentile(99)) + " us.");
}

struct FirstAccess {
  Series lookup, read, again, write, rewrite;
};

void AccessOnce(fs::Host& host, const std::string& clone, uint64_t file, FirstAccess& series) {
  std::shared_ptr<fs::FileSystem> volume = AttachTo(host, clone);
  std::string dir_name = SmallTree::DirName(file);
  std::string file_name = SmallTree::FileName(file);
  std::byte buffer[64];
  Stopwatch watch;
  InodeId dir = Must(volume->Lookup({}, kRootInode, dir_name), "lookup").attr.ino;
  InodeId ino = Must(volume->Lookup({}, dir, file_name), "lookup").attr.ino;
  series.lookup.Add(watch.WallUs());
  watch.Restart();
  Must(volume->Read({}, ino, 0, buffer), "read");
  series.read.Add(watch.WallUs());
  watch.Restart();
  Must(volume->Read({}, ino, 0, buffer), "read");
  series.again.Add(watch.WallUs());
  fs::SetAttr change;
  change.mtime_now = true;
  watch.Restart();
  Must(volume->Setattr({}, ino, change), "setattr");
  series.write.Add(watch.WallUs());
  watch.Restart();
  Must(volume->Setattr({}, ino, change), "setattr");
  series.rewrite.Add(watch.WallUs());
}

void ReportFirstAccess(CloneBench& bench, int rounds) {
  std::vector<Source*> chosen;
  for (Source& source : bench.sources())
    if (source.files == bench.sources().back().files) chosen.push_back(&source);
  // Cloned in advance: after a wait for the disk the core's own caches would be what is measured.
  std::vector<std::vector<std::string>> clones(chosen.size());
  for (size_t i = 0; i < chosen.size(); ++i) {
    for (int round = 0; round < rounds; ++round)
      clones[i].push_back("a" + std::to_string(i) + "-" + std::to_string(round));
    Must(bench.host().Clone(chosen[i]->volume, clones[i]), "clone");
  }
  std::vector<FirstAccess> series(chosen.size());
  Random random(7);
  for (int round = 0; round < rounds; ++round) {
    uint64_t file = random.Below(chosen[0]->files);
    for (size_t k = 0; k < chosen.size(); ++k) {
      // Rotating: the first to touch a file finds it in none of the core's caches.
      size_t i = (k + static_cast<size_t>(round)) % chosen.size();
      AccessOnce(bench.host(), clones[i][static_cast<size_t>(round)], file, series[i]);
    }
  }
  PrintHeading("First access after a clone of " + Figure(static_cast<double>(chosen[0]->files)) +
               " files, in the server, p50 microseconds (not synced)");
  PrintTableHead({"depth of the source", "look up a path of 2 names", "first read", "second read",
                  "first change of an inode", "second change"});
  for (size_t i = 0; i < chosen.size(); ++i)
    PrintRow({std::to_string(chosen[i]->depth), Figure(series[i].lookup.Median()),
              Figure(series[i].read.Median()), Figure(series[i].again.Median()),
              Figure(series[i].write.Median()), Figure(series[i].rewrite.Median())});
}

void ReportDestroy(CloneBench& bench, int rounds) {
  fs::Host& host = bench.host();
  PrintHeading("Destroy");
  Series one;
  for (int i = 0; i < rounds; ++i) {
    std::string name = bench.CloneOnce(bench.sources().back().volume);
    Stopwatch watch;
    Must(host.Destroy({name}), "destroy");
    one.Add(watch.WallUs());
  }
  PrintText("- One clone: p50 " + Figure(one.Median()) + ", p99 " + Figure(one.Percentile(99)) +
            " us (durable).");
  Must(host.Drain(), "drain");
  std::string base = "base" + std::to_string(bench.sources().back().files);
  Stopwatch watch;
  Must(host.Destroy({base}), "destroy");
  PrintText("- The base of " + Figure(static_cast<double>(bench.sources().back().files)) +
            " files, with its clones alive: " + Figure(watch.WallUs()) + " us.");
  std::vector<std::string> all;
  for (const fs::VolumeInfo& info : host.List()) all.push_back(info.name);
  uint64_t nodes = host.Stats().nodes;
  watch.Restart();
  Must(host.Destroy(all), "destroy all");
  double call_ms = watch.WallUs() / 1e3;
  Must(host.Drain(), "drain");
  double drain_ms = watch.WallUs() / 1e3;
  PrintText("- All " + Figure(static_cast<double>(all.size())) +
            " volumes in one call: " + Figure(call_ms) + " ms; their " +
            Figure(static_cast<double>(nodes)) + " nodes are back, and that is on disk, after " +
            Figure(drain_ms) + " ms (" + std::to_string(host.Stats().nodes) + " nodes remain).");
}

int Run(int argc, char** argv) {
  Options options;
  bool quick = false;
  CLI::App app{"Clone benchmark: prints a section of Markdown"};
  app.add_option("--store", options.store, "directory on the disk to measure; emptied");
  app.add_option("--memory-store", options.memory_store, "directory on a tmpfs; emptied");
  app.add_flag("--quick", quick, "fewer rounds and at most 10,000 files");
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    options.rounds = 60;
    options.sizes = {100, 10000};
  }
  Series floor = MeasureSyncFloor(options.store + "-floor", options.rounds);
  std::filesystem::remove(options.store + "-floor");
  CloneBench disk(options, options.store);
  disk.MeasureLatency();
  {
    CloneBench memory(options, options.memory_store);
    memory.MeasureLatency();
    ReportLatency(disk, memory, floor);
  }
  ReportWrites(disk, options.rounds);
  ReportMany(disk);
  ReportLive(disk, options.rounds);
  ReportFirstAccess(disk, options.rounds);
  ReportDestroy(disk, options.rounds);
  return 0;
}

}  // namespace
}  // namespace prism::bench

int main(int argc, char** argv) {
  prism::KeepFreedMemory();  // as the server does
  spdlog::set_level(spdlog::level::err);
  return prism::bench::Run(argc, argv);
}
