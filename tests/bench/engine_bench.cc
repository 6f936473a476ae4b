// What operations of the server cost, in process: look-ups, creates, file data.
//
// "CPU" is of the whole process, background work included; where a measurement makes changes it
// lasts until they are on disk, so that nothing is left to be paid later.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <thread>

#include "fs/base/freed_memory.h"
#include "tests/bench/measure.h"
#include "tests/bench/tree.h"

namespace prism::bench {
namespace {

struct Options {
  std::string store = "/var/tmp/prism-bench-engine";
  uint64_t files = 1000000;
  uint64_t operations = 200000;
  uint64_t data_mib = 512;
  int runs = 5;
  std::string only;
};

// Wall and CPU microseconds of one operation, a sample a run.
struct Cost {
  Series wall_us;
  Series cpu_us;
  void Add(const Stopwatch& watch, uint64_t operations) {
    wall_us.Add(watch.WallUs() / static_cast<double>(operations));
    cpu_us.Add(watch.ProcessUs() / static_cast<double>(operations));
  }
  void Report(const std::string& what) const {
    PrintRow(
        {what, Figure(wall_us.Median()), Figure(1e6 / wall_us.Median()), Figure(cpu_us.Median())});
  }
};

class EngineBench {
 public:
  explicit EngineBench(const Options& options)
      : options_(options), directory_(FreshStore(options.store)) {
    OpenHost(uint64_t{512} << 20);
    Progress("making a volume of " + Figure(static_cast<double>(options.files)) + " files");
    Must(host_->Create("tree", false), "create");
    tree_ = MakeSmallTree(*AttachTo(*host_, "tree"), options.files, 64);
    Must(host_->Flush(), "flush");
    Must(host_->Checkpoint(), "checkpoint");
  }
  ~EngineBench() {
    host_.reset();
    std::filesystem::remove_all(options_.store);
  }

  void OpenHost(uint64_t node_cache_bytes) {
    host_.reset();
    fs::HostOptions host;
    host.directory = directory_;
    host.node_cache_bytes = node_cache_bytes;
    host_ = Must(fs::Host::Open(host), "open");
  }
  std::shared_ptr<fs::FileSystem> NewVolume() {
    std::string name = "n" + std::to_string(next_++);
    Must(host_->Create(name, false), "create");
    return AttachTo(*host_, name);
  }
  // Everything done so far is on disk and nobody works in the background.
  void Settle() {
    Must(host_->Flush(), "flush");
    Must(host_->Checkpoint(), "checkpoint");
  }

  fs::Host& host() { return *host_; }
  const SmallTree& tree() const { return tree_; }
  const Options& options() const { return options_; }

 private:
  const Options& options_;
  std::string directory_;
  std::unique_ptr<fs::Host> host_;
  SmallTree tree_;
  int next_ = 0;
};

Cost MeasureGetattr(EngineBench& bench, uint64_t range, uint64_t operations, int runs) {
  std::shared_ptr<fs::FileSystem> volume = AttachTo(bench.host(), "tree");
  Cost cost;
  Random random(1);
  for (int run = 0; run < runs; ++run) {
    Stopwatch watch;
    for (uint64_t i = 0; i < operations; ++i)
      Must(volume->Getattr({}, bench.tree().files[random.Below(range)]), "getattr");
    cost.Add(watch, operations);
  }
  return cost;
}

Cost MeasureLookup(EngineBench& bench, uint64_t range, uint64_t operations, int runs) {
  std::shared_ptr<fs::FileSystem> volume = AttachTo(bench.host(), "tree");
  Cost cost;
  Random random(2);
  for (int run = 0; run < runs; ++run) {
    std::vector<std::pair<InodeId, std::string>> names;
    for (uint64_t i = 0; i < operations; ++i) {
      uint64_t file = random.Below(range);
      names.emplace_back(bench.tree().dirs[file / kFilesPerDir], SmallTree::FileName(file));
    }
    Stopwatch watch;
    for (const auto& [dir, name] : names) Must(volume->Lookup({}, dir, name), "lookup");
    cost.Add(watch, operations);
  }
  return cost;
}

Cost MeasureReadSmall(EngineBench& bench, uint64_t range, uint64_t operations, int runs) {
  std::shared_ptr<fs::FileSystem> volume = AttachTo(bench.host(), "tree");
  Cost cost;
  Random random(3);
  std::byte buffer[64];
  for (int run = 0; run < runs; ++run) {
    Stopwatch watch;
    for (uint64_t i = 0; i < operations; ++i)
      Must(volume->Read({}, bench.tree().files[random.Below(range)], 0, buffer), "read");
    cost.Add(watch, operations);
  }
  return cost;
}

Cost MeasureReaddir(EngineBench& bench, bool with_attr, int runs) {
  std::shared_ptr<fs::FileSystem> volume = AttachTo(bench.host(), "tree");
  size_t dirs = std::min<size_t>(bench.tree().dirs.size(), 50);
  Cost cost;
  for (int run = 0; run < runs; ++run) {
    uint64_t entries = 0;
    Stopwatch watch;
    for (size_t i = 0; i < dirs; ++i) {
      auto visitor = [&](const fs::DirEntry&) { return ++entries > 0; };
      Must(volume->Readdir({}, bench.tree().dirs[i], 0, with_attr, visitor), "readdir");
    }
    cost.Add(watch, entries);
  }
  return cost;
}

void ReportReads(EngineBench& bench) {
  const Options& options = bench.options();
  uint64_t some = std::min<uint64_t>(options.files, 20000);
  uint64_t operations = options.operations;
  PrintHeading("Reading, one thread, in the server");
  PrintTableHead({"operation", "us each", "per second", "CPU us each"});
  (void)MeasureLookup(bench, some, some * 4, 1);  // warm
  (void)MeasureGetattr(bench, some, some * 4, 1);
  MeasureGetattr(bench, some, operations, options.runs).Report("getattr, cached");
  MeasureLookup(bench, some, operations, options.runs).Report("lookup, cached");
  MeasureReadSmall(bench, some, operations, options.runs).Report("read of a 64-byte file, cached");
  MeasureReaddir(bench, false, options.runs).Report("readdir, each entry, cached");
  MeasureReaddir(bench, true, options.runs).Report("readdir with attributes, each entry, cached");
  // Caches as after a restart, and too small to be of use: nodes come from RocksDB, whose own files
  // may be in the page cache.
  bench.OpenHost(1 << 20);
  std::string all = " of " + Figure(static_cast<double>(options.files)) + " files";
  uint64_t few = std::max<uint64_t>(operations / 10, 1000);
  MeasureGetattr(bench, options.files, few, options.runs)
      .Report("getattr, from RocksDB, random" + all);
  MeasureLookup(bench, options.files, few, options.runs)
      .Report("lookup, from RocksDB, random" + all);
  bench.OpenHost(uint64_t{512} << 20);
}

InodeId CreateFile(fs::FileSystem& volume, InodeId dir, const std::string& name,
                   std::span<const std::byte> data) {
  fs::CreateArgs args;
  args.parent = dir;
  args.name = name;
  args.mode = 0644;
  args.data = data;
  return Must(volume.Create({}, args), "create").attr.ino;
}

// `files` files of `size` bytes of random content, in directories of a thousand.
Cost MeasureCreate(EngineBench& bench, uint64_t files, size_t size, int runs) {
  Cost cost;
  Random random(files + size);
  std::vector<std::byte> data(size);
  for (int run = 0; run < runs; ++run) {
    std::shared_ptr<fs::FileSystem> volume = bench.NewVolume();
    bench.Settle();
    Stopwatch watch;
    InodeId dir = kRootInode;
    for (uint64_t i = 0; i < files; ++i) {
      if (i % kFilesPerDir == 0) {
        fs::CreateArgs args;
        std::string name = "d" + std::to_string(i);
        args.parent = kRootInode;
        args.name = name;
        args.type = fs::FileType::kDirectory;
        args.mode = 0755;
        dir = Must(volume->Create({}, args), "mkdir").attr.ino;
      }
      random.Fill(data.data(), data.size());
      CreateFile(*volume, dir, "f" + std::to_string(i), data);
    }
    cost.wall_us.Add(watch.WallUs() / static_cast<double>(files));
    bench.Settle();
    cost.cpu_us.Add(watch.ProcessUs() / static_cast<double>(files));
  }
  return cost;
}

Cost MeasureUnlink(EngineBench& bench, uint64_t files, int runs) {
  Cost cost;
  for (int run = 0; run < runs; ++run) {
    std::shared_ptr<fs::FileSystem> volume = bench.NewVolume();
    SmallTree tree = MakeSmallTree(*volume, files, 64);
    bench.Settle();
    Stopwatch watch;
    for (uint64_t i = 0; i < files; ++i) {
      std::string name = SmallTree::FileName(i);
      InodeId ino =
          Must(volume->Unlink({}, tree.dirs[i / kFilesPerDir], name), "unlink").removed.ino;
      Must(volume->Release({}, ino), "release");
    }
    cost.wall_us.Add(watch.WallUs() / static_cast<double>(files));
    bench.Settle();
    cost.cpu_us.Add(watch.ProcessUs() / static_cast<double>(files));
  }
  return cost;
}

Cost MeasureRename(EngineBench& bench, uint64_t files, int runs) {
  Cost cost;
  std::shared_ptr<fs::FileSystem> volume = bench.NewVolume();
  SmallTree tree = MakeSmallTree(*volume, files, 64);
  for (int run = 0; run < runs; ++run) {
    bench.Settle();
    Stopwatch watch;
    for (uint64_t i = 0; i < files; ++i) {
      InodeId dir = tree.dirs[i / kFilesPerDir];
      std::string from = SmallTree::FileName(i) + std::string(static_cast<size_t>(run), 'x');
      std::string to = from + 'x';
      Must(volume->Rename({}, dir, from, dir, to, fs::kRenameNone), "rename");
    }
    cost.wall_us.Add(watch.WallUs() / static_cast<double>(files));
    bench.Settle();
    cost.cpu_us.Add(watch.ProcessUs() / static_cast<double>(files));
  }
  return cost;
}

Cost MeasureSyncCreate(EngineBench& bench, int threads, uint64_t each, int runs) {
  Cost cost;
  for (int run = 0; run < runs; ++run) {
    std::shared_ptr<fs::FileSystem> volume = bench.NewVolume();
    Stopwatch watch;
    std::vector<std::thread> workers;
    for (int worker = 0; worker < threads; ++worker) {
      workers.emplace_back([&, worker] {
        for (uint64_t i = 0; i < each; ++i) {
          InodeId ino = CreateFile(*volume, kRootInode,
                                   "s" + std::to_string(worker) + "-" + std::to_string(i), {});
          Must(volume->Fsync({}, ino, false), "fsync");
        }
      });
    }
    for (std::thread& worker : workers) worker.join();
    cost.Add(watch, each * static_cast<uint64_t>(threads));
  }
  return cost;
}

void ReportChanges(EngineBench& bench) {
  const Options& options = bench.options();
  uint64_t files = options.operations / 4;
  PrintHeading("Changing, in the server");
  PrintText(
      "Unsynced: the call has returned; the CPU figure includes journal, checkpoint and "
      "RocksDB until all is on disk.\n");
  PrintTableHead({"operation", "us each", "per second", "CPU us each"});
  MeasureCreate(bench, files, 0, options.runs).Report("create, unsynced");
  MeasureCreate(bench, files, 1024, options.runs).Report("create with 1 KiB, unsynced");
  MeasureCreate(bench, files, 8192, options.runs).Report("create with 8 KiB, unsynced");
  MeasureRename(bench, files, options.runs).Report("rename, unsynced");
  MeasureUnlink(bench, files, options.runs).Report("unlink and release, unsynced");
  MeasureSyncCreate(bench, 1, 300, options.runs).Report("create + fsync, 1 thread");
  MeasureSyncCreate(bench, 16, 60, options.runs).Report("create + fsync, 16 threads");
}

constexpr size_t kMiB = size_t{1} << 20;

// Half of each 64 KiB block is random, half compresses, as a mix of programs and text does.
std::vector<std::byte> MakeContent(size_t length, uint64_t seed) {
  std::vector<std::byte> content(length);
  Random random(seed);
  for (size_t at = 0; at < length; at += 65536) {
    size_t block = std::min<size_t>(65536, length - at);
    random.Fill(content.data() + at, block / 2);
    for (size_t i = block / 2; i < block; ++i) content[at + i] = std::byte(i >> 6 & 0xff);
  }
  return content;
}

// Whole units of 4 KiB in a large file, new content each, then fsync.
void OverwriteAtRandom(fs::FileSystem& volume, InodeId ino, uint64_t file_bytes, uint64_t count,
                       uint64_t seed) {
  Random random(seed);
  std::vector<std::byte> unit(4096);
  for (uint64_t i = 0; i < count; ++i) {
    random.Fill(unit.data(), 64);
    fs::WriteArgs args;
    args.ino = ino;
    args.offset = random.Below(file_bytes / unit.size()) * unit.size();
    args.data = unit;
    Must(volume.Write({}, args), "write");
  }
  Must(volume.Fsync({}, ino, false), "fsync");
}

struct DataCosts {
  Cost overwrite, read_random;
  Series unique_mib_s, unique_cpu_ms, duplicate_mib_s, duplicate_cpu_ms;
  Series read_mib_s, read_cpu_ms, cold_mib_s, cold_cpu_ms;
};

void WriteWhole(fs::FileSystem& volume, InodeId ino, const std::vector<std::byte>& content) {
  for (size_t at = 0; at < content.size(); at += kMiB) {
    fs::WriteArgs args;
    args.ino = ino;
    args.offset = at;
    args.data = std::span(content).subspan(at, std::min(kMiB, content.size() - at));
    Must(volume.Write({}, args), "write");
  }
  Must(volume.Fsync({}, ino, false), "fsync");
}

void ReadWhole(fs::FileSystem& volume, InodeId ino, size_t length, std::vector<std::byte>& out) {
  for (size_t at = 0; at < length; at += kMiB)
    Must(volume.Read({}, ino, at, std::span(out).first(kMiB)), "read");
}

void MeasureDataOnce(EngineBench& bench, int run, DataCosts& costs) {
  std::shared_ptr<fs::FileSystem> volume = bench.NewVolume();
  size_t mib = bench.options().data_mib;
  std::vector<std::byte> content = MakeContent(mib * kMiB, static_cast<uint64_t>(run) + 11);
  std::vector<std::byte> buffer(kMiB);
  double size = static_cast<double>(mib);
  auto add = [&](const Stopwatch& watch, Series& rate, Series& cpu) {
    rate.Add(size / (watch.WallUs() / 1e6));
    cpu.Add(watch.ProcessUs() / 1e3 / size);
  };
  InodeId first = CreateFile(*volume, kRootInode, "first", {});
  InodeId second = CreateFile(*volume, kRootInode, "second", {});
  Stopwatch watch;
  WriteWhole(*volume, first, content);
  add(watch, costs.unique_mib_s, costs.unique_cpu_ms);
  watch.Restart();
  WriteWhole(*volume, second, content);
  add(watch, costs.duplicate_mib_s, costs.duplicate_cpu_ms);
  watch.Restart();
  ReadWhole(*volume, first, content.size(), buffer);
  add(watch, costs.cold_mib_s, costs.cold_cpu_ms);
  size_t part = std::min<size_t>(content.size(), 128 * kMiB);
  ReadWhole(*volume, first, part, buffer);
  watch.Restart();
  size = static_cast<double>(part) / kMiB;
  ReadWhole(*volume, first, part, buffer);
  add(watch, costs.read_mib_s, costs.read_cpu_ms);
  uint64_t count = mib * 16;
  Random random(5);
  watch.Restart();
  for (uint64_t i = 0; i < count; ++i)
    Must(volume->Read({}, first, random.Below(part / 4096) * 4096, std::span(buffer).first(4096)),
         "read");
  costs.read_random.Add(watch, count);
  watch.Restart();
  OverwriteAtRandom(*volume, first, content.size(), count, static_cast<uint64_t>(run));
  costs.overwrite.Add(watch, count);
}

void ReportData(EngineBench& bench) {
  DataCosts costs;
  for (int run = 0; run < bench.options().runs; ++run) MeasureDataOnce(bench, run, costs);
  PrintHeading("File data, one thread, 1 MiB calls, " +
               Figure(static_cast<double>(bench.options().data_mib)) +
               " MiB, half of it compressible");
  PrintTableHead({"operation", "MiB/s", "CPU ms per MiB"});
  PrintRow({"write new content, then fsync", Figure(costs.unique_mib_s.Median()),
            Figure(costs.unique_cpu_ms.Median())});
  PrintRow({"write the same content again, then fsync", Figure(costs.duplicate_mib_s.Median()),
            Figure(costs.duplicate_cpu_ms.Median())});
  PrintRow({"read it after writing (chunk cache mostly cold)", Figure(costs.cold_mib_s.Median()),
            Figure(costs.cold_cpu_ms.Median())});
  PrintRow({"read 128 MiB of it again (chunk cache)", Figure(costs.read_mib_s.Median()),
            Figure(costs.read_cpu_ms.Median())});
  PrintText("");
  PrintTableHead({"operation", "us each", "per second", "CPU us each"});
  costs.read_random.Report("read 4 KiB at random (chunk cache)");
  costs.overwrite.Report("overwrite 4 KiB at random, fsync at the end");
}

int Run(int argc, char** argv) {
  Options options;
  bool quick = false;
  CLI::App app{"Benchmark of the server's operations: prints a section of Markdown"};
  app.add_option("--store", options.store, "directory on the disk to measure; emptied");
  app.add_flag("--quick", quick, "fewer operations and 20,000 files");
  app.add_option("--only", options.only, "one part: reads, changes or data");
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    options.files = 20000;
    options.operations = 40000;
    options.data_mib = 128;
    options.runs = 3;
  }
  EngineBench bench(options);
  auto wanted = [&](const char* part) { return options.only.empty() || options.only == part; };
  if (wanted("reads")) ReportReads(bench);
  if (wanted("changes")) ReportChanges(bench);
  if (wanted("data")) ReportData(bench);
  return 0;
}

}  // namespace
}  // namespace prism::bench

int main(int argc, char** argv) {
  prism::KeepFreedMemory();  // as the server does
  spdlog::set_level(spdlog::level::err);
  return prism::bench::Run(argc, argv);
}
