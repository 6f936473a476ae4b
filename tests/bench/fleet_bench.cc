// Clones for a fleet: Prism beside btrfs, XFS, overlayfs and qcow2, all holding the same tree.
//
// Rounds go through the systems in turn. One that is slow has fewer rounds: each has a budget of
// time, and says how often it was measured.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>

#include "fmt/format.h"
#include "tests/bench/fleet_system.h"
#include "tests/bench/measure.h"

namespace prism::bench {
namespace {

struct Options {
  std::string work, prism, control, make_tree;
  uint64_t files = 0;
  int rounds = 15;
  int many = 1000;
  int depth = 1000;
  double budget_s = 10;
};

constexpr int kFilesEachRound = 20;
constexpr size_t kChangeBytes = 4096;
const char* const kLargeFile = "fleet-large";  // fleet_bench.sh makes it, 64 MiB

int OpenOrDie(const std::string& path, int flags) {
  int descriptor = open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) Die(path + ": " + std::strerror(errno));
  return descriptor;
}

void ReadFile(const std::string& path) {
  static std::vector<char> buffer(1 << 20);
  int descriptor = OpenOrDie(path, O_RDONLY);
  if (read(descriptor, buffer.data(), buffer.size()) < 0) Die("read " + path);
  close(descriptor);
}

// Overwrites the beginning with bytes that were nowhere before.
void ChangeFile(const std::string& path, bool durable) {
  static Random random(NowNs());
  char bytes[kChangeBytes];
  random.Fill(bytes, sizeof bytes);
  int descriptor = OpenOrDie(path, O_WRONLY);
  if (pwrite(descriptor, bytes, sizeof bytes, 0) != sizeof bytes) Die("write " + path);
  if (durable && fsync(descriptor) != 0) Die("fsync " + path);
  close(descriptor);
}

void DropCaches() {
  sync();
  std::ofstream out("/proc/sys/vm/drop_caches");
  out << "3\n" << std::flush;
  if (!out) Die("cannot write /proc/sys/vm/drop_caches: run as root");
}

// File i is "d<i / 1000>/f<i>".
void MakeTree(const std::string& directory, uint64_t files) {
  for (uint64_t i = 0; i < files; ++i) {
    std::string dir = directory + "/d" + std::to_string(i / 1000);
    if (i % 1000 == 0) mkdir(dir.c_str(), 0755);
    std::string text = std::to_string(i) + "\n";
    std::string path = dir + "/f" + std::to_string(i);
    int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (descriptor < 0) Die("cannot make " + path);
    if (write(descriptor, text.data(), text.size()) < 0) Die("cannot write " + path);
    close(descriptor);
  }
}

// Rows in the order in which they were first named; a column for each system.
class Results {
 public:
  Series& At(const std::string& row, const FleetSystem& system) {
    if (cells_.find(row) == cells_.end()) rows_.push_back(row);
    return cells_[row][system.name()];
  }
  void Print(const std::vector<std::unique_ptr<FleetSystem>>& systems) const {
    std::vector<std::string> head = {"median"};
    for (const auto& system : systems) head.push_back(system->name());
    head.push_back("best other : Prism");
    PrintTableHead(head);
    for (const std::string& row : rows_) PrintRow(Cells(row, systems));
  }

 private:
  std::vector<std::string> Cells(const std::string& row,
                                 const std::vector<std::unique_ptr<FleetSystem>>& systems) const {
    std::vector<std::string> cells = {row};
    double ours = 0, best = 0;
    const auto& values = cells_.at(row);
    for (const auto& system : systems) {
      auto found = values.find(system->name());
      if (found == values.end() || found->second.size() == 0) {
        cells.push_back("-");
        continue;
      }
      double median = found->second.Median();
      cells.push_back(Figure(median));
      if (system == systems.front()) {
        ours = median;
      } else if (best == 0 || median < best) {
        best = median;
      }
    }
    cells.push_back(ours > 0 && best > 0 ? "**" + Figure(best / ours) + "**" : "-");
    return cells;
  }

  std::vector<std::string> rows_;
  std::map<std::string, std::map<std::string, Series>> cells_;
};

class FleetBench {
 public:
  explicit FleetBench(const Options& options) : options_(options), random_(7) {
    std::string disk = options.work + "/disk";
    systems_.push_back(MakePrismSystem(options.work, options.prism, options.control));
    systems_.push_back(MakeBtrfsSystem(options.work + "/btrfs"));
    systems_.push_back(MakeXfsSystem(options.work + "/xfs"));
    systems_.push_back(MakeOverlaySystem(disk));
    systems_.push_back(MakeQcow2System(disk));
    ListFiles(disk + "/lower");
  }

  void Run() {
    Rounds();
    Many();
    PrintHeading("One clone at a time, microseconds");
    results_.Print(systems_);
    PrintRounds();
    Chains();
  }

 private:
  struct Spent {
    double seconds = 0;
    int rounds = 0;
  };
  // One round was more than all should be: no more than what it has shown.
  bool IsTooSlow(const FleetSystem& system) {
    const Spent& spent = spent_[system.name()];
    return spent.seconds > options_.budget_s * spent.rounds;
  }

  void ListFiles(const std::string& directory) {
    std::filesystem::recursive_directory_iterator walk(directory);
    for (const auto& entry : walk) {
      if (entry.is_symlink() || !entry.is_regular_file()) continue;
      if (entry.file_size() > 0 && entry.file_size() <= (1 << 20))
        files_.push_back(entry.path().string().substr(directory.size() + 1));
    }
    if (files_.size() < kFilesEachRound) Die("there are too few files in " + directory);
    Progress(fmt::format("{} files to choose from", files_.size()));
  }

  const std::string& AnyFile() { return files_[random_.Below(files_.size())]; }
  std::string NewName() { return "c" + std::to_string(next_++); }

  template <typename Work>
  void Time(const std::string& row, const FleetSystem& system, Work work) {
    Stopwatch watch;
    work();
    results_.At(row, system).Add(watch.WallUs());
  }

  // One synced write of a byte into an allocated block of Prism's disk: no durable clone is faster.
  void SyncOnce() {
    int descriptor = OpenOrDie(options_.work + "/disk/floor", O_RDWR);
    Stopwatch watch;
    if (pwrite(descriptor, "x", 1, 0) != 1 || fdatasync(descriptor) != 0) Die("floor");
    floor_us_.Add(watch.WallUs());
    close(descriptor);
  }

  void Rounds() {
    std::ofstream(options_.work + "/disk/floor") << std::string(4096, 'x');
    for (int round = 0; round < options_.rounds; ++round) {
      SyncOnce();
      std::vector<std::string> files;
      for (int i = 0; i < kFilesEachRound; ++i) files.push_back(AnyFile());
      for (size_t k = 0; k < systems_.size(); ++k) {
        FleetSystem& system = *systems_[(k + static_cast<size_t>(round)) % systems_.size()];
        Spent& spent = spent_[system.name()];
        if (spent.seconds > options_.budget_s) continue;
        sync();  // nobody waits for what another has left to be written
        Stopwatch watch;
        Round(system, files);
        spent.seconds += watch.WallUs() / 1e6;
        ++spent.rounds;
      }
    }
  }

  void Round(FleetSystem& system, const std::vector<std::string>& files) {
    std::string clone = NewName(), other = NewName(), directory;
    Time("clone", system, [&] { system.Clone("base", clone); });
    bool command = false;
    Stopwatch watch;
    if ((command = system.CloneByCommand("base", other)))
      results_.At("clone, by the command line", system).Add(watch.WallUs());
    watch.Restart();
    directory = system.Open(clone) + "/";
    ReadFile(directory + files[0]);
    double open_us = watch.WallUs();
    results_.At("clone, mount it, read a file", system)
        .Add(results_.At("clone", system).values().back() + open_us);
    Files(system, directory, files);
    system.Close(clone);
    Time("destroy", system, [&] { system.Destroy({clone}); });
    if (command) system.Destroy({other});
  }

  void Files(FleetSystem& system, const std::string& directory,
             const std::vector<std::string>& files) {
    for (const char* row : {"read a file, first time", "read a file, second time"})
      for (size_t i = 1; i < files.size(); ++i)
        Time(row, system, [&] { ReadFile(directory + files[i]); });
    for (const char* row : {"change a file and fsync, first time", "change it again and fsync"})
      for (size_t i = 1; i < files.size(); i += 4)
        Time(row, system, [&] { ChangeFile(directory + files[i], true); });
    for (const char* row : {"change 4 KiB of 64 MiB and fsync, first time", "change it again"})
      Time(row, system, [&] { ChangeFile(directory + kLargeFile, true); });
  }

  // 1,000 of them: whether the last ones cost more than the first, and what each takes on the disk.
  void Many() {
    for (auto& system : systems_) {
      if (IsTooSlow(*system)) continue;
      uint64_t before = system->UsedBytes();
      std::vector<std::string> names;
      Series first, last;
      Stopwatch watch;
      while (static_cast<int>(names.size()) < options_.many &&
             watch.WallUs() < options_.budget_s * 1e6) {
        names.push_back(NewName());
        Stopwatch one;
        system->Clone("base", names.back());
        (names.size() <= 100 ? first : last).Add(one.WallUs());
      }
      double used = static_cast<double>(system->UsedBytes() - before);
      many_[system->name()] = {names.size(), first, last, used};
      system->Destroy(names);
    }
    std::vector<std::string> names;
    for (int i = 0; i < options_.many; ++i) names.push_back(NewName());
    Stopwatch watch;
    systems_[0]->CloneMany("base", names);
    in_one_call_us_ = watch.WallUs();
    systems_[0]->Destroy(names);
  }

  void PrintRounds() {
    PrintText("");
    std::string line = "Rounds:";
    for (auto& system : systems_)
      line += fmt::format(" {} {},", system->name(), spent_[system->name()].rounds);
    line.back() = '.';
    PrintText(line);
    PrintText("");
    PrintText("One synced overwrite on Prism's disk: " + Figure(floor_us_.Median()) + " us.");
    PrintHeading(fmt::format("{} clones of one, one call each", options_.many));
    PrintTableHead({"system", "made", "median of the first 100, us", "median of the rest, us",
                    "bytes each on the disk"});
    for (auto& system : systems_) {
      const ManyResult& many = many_[system->name()];
      if (many.count == 0) continue;
      PrintRow({system->name(), Figure(static_cast<double>(many.count)),
                Figure(many.first.Median()), Figure(many.last.Median()),
                Figure(std::max(0.0, many.used / static_cast<double>(many.count)))});
    }
    PrintText("");
    PrintText(fmt::format("- Prism, {} clones in one call: {} ms.", options_.many,
                          Figure(in_one_call_us_ / 1e3)));
  }

  // Clones of clones, each with one changed file.
  void Chains() {
    PrintHeading("A clone of a clone of a clone, one file of each changed; microseconds");
    PrintTableHead({"system", "depth", "clone", "read a file, cold", "change a file and fsync",
                    "bytes each on the disk"});
    for (auto& system : systems_)
      if (!IsTooSlow(*system)) Chain(*system);
  }

  void Chain(FleetSystem& system) {
    uint64_t before = system.UsedBytes();
    std::vector<std::string> names = {"base"};
    int limit = std::min(options_.depth, system.DepthLimit());
    Series clone;
    Stopwatch watch;
    auto over = [&] { return watch.WallUs() > 3 * options_.budget_s * 1e6; };
    for (int depth = 1; depth <= limit && !over(); ++depth) {
      std::string name = NewName();
      Stopwatch one;
      system.Clone(names.back(), name);
      clone.Add(one.WallUs());
      names.push_back(name);
      ChangeFile(system.Open(name) + "/" + AnyFile(), false);
      system.Close(name);
      if (depth == 10) ReportChain(system, names, clone, before);
    }
    ReportChain(system, names, clone, before);
    std::vector<std::string> doomed(names.rbegin(), names.rend() - 1);
    system.Destroy(doomed);
  }

  // The last ten clones' median, and the accesses in the last one.
  void ReportChain(FleetSystem& system, const std::vector<std::string>& names, const Series& clone,
                   uint64_t before) {
    Series latest, read, change;
    size_t count = clone.size();
    for (size_t i = count > 10 ? count - 10 : 0; i < count; ++i) latest.Add(clone.values()[i]);
    double each = static_cast<double>(system.UsedBytes() - before) / static_cast<double>(count);
    system.Restart();
    DropCaches();
    std::string directory = system.Open(names.back()) + "/";
    auto time = [](Series& series, auto work) {
      Stopwatch watch;
      work();
      series.Add(watch.WallUs());
    };
    for (int i = 0; i < 100; ++i)
      time(read, [&] { ReadFile(directory + files_[random_.Below(files_.size())]); });
    for (int i = 0; i < 20; ++i)
      time(change, [&] { ChangeFile(directory + files_[random_.Below(files_.size())], true); });
    system.Close(names.back());
    PrintRow({system.name(), Figure(static_cast<double>(count)), Figure(latest.Median()),
              Figure(read.Median()), Figure(change.Median()), Figure(each)});
  }

  struct ManyResult {
    size_t count = 0;
    Series first, last;
    double used = 0;
  };

  const Options& options_;
  Random random_;
  std::vector<std::unique_ptr<FleetSystem>> systems_;
  std::vector<std::string> files_;
  Results results_;
  std::map<std::string, Spent> spent_;
  std::map<std::string, ManyResult> many_;
  double in_one_call_us_ = 0;
  Series floor_us_;
  uint64_t next_ = 0;
};

int Run(int argc, char** argv) {
  Options options;
  bool quick = false;
  CLI::App app{"Fleet benchmark: prints a section of Markdown. fleet_bench.sh starts it"};
  app.add_option("--work", options.work, "directory with disk, btrfs, xfs, prism, restart-prism");
  app.add_option("--prism", options.prism, "the command");
  app.add_option("--control", options.control, "the server's socket");
  app.add_option("--rounds", options.rounds, "how often, at most");
  app.add_option("--depth", options.depth, "of a chain of clones, at most");
  app.add_option("--budget", options.budget_s, "seconds for each system and step");
  app.add_option("--make-tree", options.make_tree, "makes --files files there, and that is all");
  app.add_option("--files", options.files, "for --make-tree");
  app.add_flag("--quick", quick, "fewer");
  CLI11_PARSE(app, argc, argv);
  if (!options.make_tree.empty()) {
    MakeTree(options.make_tree, options.files);
    return 0;
  }
  if (quick) {
    options.rounds = 5;
    options.many = 200;
    options.depth = 50;
    options.budget_s = 5;
  }
  FleetBench(options).Run();
  return 0;
}

}  // namespace
}  // namespace prism::bench

int main(int argc, char** argv) { return prism::bench::Run(argc, argv); }
