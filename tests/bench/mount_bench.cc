// The same work by system calls in three directories: on the host's ext4, through bindfs (a
// pass-through FUSE) over ext4, and in a Prism mount. tests/bench/mount_bench.sh prepares them.
//
// Every step runs in all of them in turn, in an order that rotates from round to round, so that
// ratios hold although the machine drifts. Cold steps begin with sync and drop_caches; a fourth
// contestant is Prism whose server and mount have also been restarted, with nothing in its caches.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "tests/bench/measure.h"

namespace prism::bench {
namespace {

struct Options {
  std::string host, bindfs, prism, hooks;
  int files = 3000;
  int files_per_dir = 300;
  int big_mib = 256;
  int random_operations = 2000;
  int sync_operations = 50;
  int rounds = 5;
  std::vector<std::string> only;  // of the steps: parts of their names
};

enum Contestant { kHost, kBindfs, kPrism, kPrismRestarted, kContestants };

void Check(bool ok, const std::string& what) {
  if (!ok) Die(what + ": " + std::strerror(errno));
}

// CPU time of all threads of the processes that serve a mount, from the scheduler's own counters.
uint64_t ServersCpuNs(const std::string& pid_file) {
  std::ifstream pids(pid_file);
  uint64_t total = 0;
  for (std::string pid; pids >> pid;) {
    std::error_code ignored;
    for (const auto& task :
         std::filesystem::directory_iterator("/proc/" + pid + "/task", ignored)) {
      std::ifstream in(task.path() / "schedstat");
      uint64_t on_cpu_ns = 0;
      if (in >> on_cpu_ns) total += on_cpu_ns;
    }
  }
  return total;
}

// The work, in one directory. Each function does it once and returns the number of operations.
class Work {
 public:
  Work(const Options& options, std::string directory)
      : options_(options), directory_(std::move(directory)), buffer_(1 << 20) {
    Random(99).Fill(buffer_.data(), buffer_.size());
  }

  int Create() {
    for (int i = 0; i < options_.files; ++i) {
      if (i % options_.files_per_dir == 0) Check(mkdir(DirOf(i).c_str(), 0755) == 0, DirOf(i));
      int fd = open(PathOf(i).c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
      Check(fd >= 0, PathOf(i));
      Check(write(fd, buffer_.data() + i, 1024) == 1024, "write");
      Check(close(fd) == 0, "close");
    }
    return options_.files;
  }
  int Stat() {
    Random random(5);
    struct stat status;
    for (int i = 0; i < options_.files; ++i) {
      int file = static_cast<int>(random.Below(static_cast<uint64_t>(options_.files)));
      Check(stat(PathOf(file).c_str(), &status) == 0, PathOf(file));
    }
    return options_.files;
  }
  int List(bool with_stat) {
    int entries = 0;
    struct stat status;
    for (int i = 0; i < options_.files; i += options_.files_per_dir) {
      DIR* dir = opendir(DirOf(i).c_str());
      Check(dir != nullptr, DirOf(i));
      while (dirent* entry = readdir(dir)) {
        ++entries;
        if (with_stat)
          Check(fstatat(dirfd(dir), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0, "fstatat");
      }
      closedir(dir);
    }
    return entries;
  }
  int ReadSmall() {
    for (int i = 0; i < options_.files; ++i) {
      int fd = open(PathOf(i).c_str(), O_RDONLY | O_CLOEXEC);
      Check(fd >= 0, PathOf(i));
      Check(read(fd, buffer_.data(), 4096) == 1024, "read");
      close(fd);
    }
    return options_.files;
  }
  int Rename() {
    for (int i = 0; i < options_.files; ++i)
      Check(rename(PathOf(i).c_str(), (PathOf(i) + "x").c_str()) == 0, "rename");
    for (int i = 0; i < options_.files; ++i)
      Check(rename((PathOf(i) + "x").c_str(), PathOf(i).c_str()) == 0, "rename");
    return 2 * options_.files;
  }
  int Unlink() {
    for (int i = 0; i < options_.files; ++i) Check(unlink(PathOf(i).c_str()) == 0, PathOf(i));
    for (int i = 0; i < options_.files; i += options_.files_per_dir)
      Check(rmdir(DirOf(i).c_str()) == 0, DirOf(i));
    return options_.files;
  }
  int WriteBig() {
    int fd = OpenBig(O_WRONLY | O_CREAT | O_TRUNC);
    for (int i = 0; i < options_.big_mib; ++i) {
      std::memcpy(buffer_.data(), &++stamp_, sizeof stamp_);  // no two blocks alike
      for (size_t at = 0; at < buffer_.size(); at += 4096)
        std::memcpy(buffer_.data() + at, &stamp_, sizeof stamp_);
      Check(write(fd, buffer_.data(), buffer_.size()) == 1 << 20, "write");
    }
    Check(fsync(fd) == 0, "fsync");
    close(fd);
    return options_.big_mib;
  }
  int ReadBig() {
    int fd = OpenBig(O_RDONLY);
    for (int i = 0; i < options_.big_mib; ++i)
      Check(read(fd, buffer_.data(), buffer_.size()) == 1 << 20, "read");
    close(fd);
    return options_.big_mib;
  }
  int ReadRandom() {
    int fd = OpenBig(O_RDONLY);
    Random random(stamp_);
    for (int i = 0; i < options_.random_operations; ++i)
      Check(pread(fd, buffer_.data(), 4096, RandomOffset(random)) == 4096, "pread");
    close(fd);
    return options_.random_operations;
  }
  int WriteRandom() {
    int fd = OpenBig(O_WRONLY);
    Random random(stamp_ + 1);
    for (int i = 0; i < options_.random_operations; ++i) {
      std::memcpy(buffer_.data(), &++stamp_, sizeof stamp_);
      Check(pwrite(fd, buffer_.data(), 4096, RandomOffset(random)) == 4096, "pwrite");
    }
    Check(fsync(fd) == 0, "fsync");
    close(fd);
    return options_.random_operations;
  }
  int SyncedAppend() {
    std::string path = directory_ + "/log";
    int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    Check(fd >= 0, path);
    for (int i = 0; i < options_.sync_operations; ++i) {
      Check(write(fd, buffer_.data(), 200) == 200, "write");
      Check(fdatasync(fd) == 0, "fdatasync");
    }
    close(fd);
    return options_.sync_operations;
  }

 private:
  std::string DirOf(int file) const {
    return directory_ + "/d" + std::to_string(file / options_.files_per_dir);
  }
  std::string PathOf(int file) const { return DirOf(file) + "/file" + std::to_string(file); }
  int OpenBig(int flags) const {
    std::string path = directory_ + "/big";
    int fd = open(path.c_str(), flags | O_CLOEXEC, 0644);
    Check(fd >= 0, path);
    return fd;
  }
  off_t RandomOffset(Random& random) const {
    return static_cast<off_t>(random.Below(static_cast<uint64_t>(options_.big_mib) << 8) << 12);
  }

  const Options& options_;
  const std::string directory_;
  std::vector<char> buffer_;
  uint64_t stamp_ = 1;
};

struct Step {
  std::string name;
  std::function<int(Work&)> run;
  bool warm_first = false;  // run once before, unmeasured
  bool cold = false;
  bool always = false;  // others need what it does
  Series wall_us[kContestants];
  Series cpu_us[kContestants];
};

std::vector<Step> MakeSteps() {
  std::vector<Step> steps;
  auto add = [&](std::string name, std::function<int(Work&)> run, bool warm, bool cold) {
    steps.push_back({std::move(name), std::move(run), warm, cold, false, {}, {}});
  };
  auto stat = [](Work& work) { return work.Stat(); };
  auto list = [](Work& work) { return work.List(false); };
  auto list_stat = [](Work& work) { return work.List(true); };
  auto read_small = [](Work& work) { return work.ReadSmall(); };
  auto read_big = [](Work& work) { return work.ReadBig(); };
  auto read_random = [](Work& work) { return work.ReadRandom(); };
  add(
      "create a 1 KiB file", [](Work& work) { return work.Create(); }, false, false);
  add("stat, warm", stat, true, false);
  add("readdir, each entry, warm", list, true, false);
  add("readdir + stat, each entry, warm", list_stat, true, false);
  add("open, read 1 KiB, close, warm", read_small, true, false);
  add("stat", stat, false, true);
  add("readdir, each entry", list, false, true);
  add("readdir + stat, each entry", list_stat, false, true);
  add("open, read 1 KiB, close", read_small, false, true);
  add(
      "rename", [](Work& work) { return work.Rename(); }, false, false);
  add(
      "write 1 MiB, in order, fsync at the end", [](Work& work) { return work.WriteBig(); }, false,
      false);
  add("read 1 MiB, in order, warm", read_big, true, false);
  add("read 4 KiB at random, warm", read_random, true, false);
  add("read 1 MiB, in order", read_big, false, true);
  add("read 4 KiB at random", read_random, false, true);
  add(
      "write 4 KiB at random, fsync at the end", [](Work& work) { return work.WriteRandom(); },
      false, false);
  add(
      "append 200 bytes + fdatasync", [](Work& work) { return work.SyncedAppend(); }, false, false);
  add(
      "unlink", [](Work& work) { return work.Unlink(); }, false, false);
  for (Step& step : steps)
    step.always = step.name.starts_with("create") || step.name.starts_with("write 1 MiB") ||
                  step.name == "unlink";
  return steps;
}

class MountBench {
 public:
  explicit MountBench(const Options& options)
      : options_(options),
        work_{{options, options.host}, {options, options.bindfs}, {options, options.prism}},
        steps_(MakeSteps()) {}

  void RunRound(int round) {
    for (Step& step : steps_) {
      if (!step.always && !IsChosen(step)) continue;
      int last = step.cold ? kPrismRestarted : kPrism;
      for (int i = 0; i <= last; ++i) Measure(step, (i + round) % (last + 1));
    }
  }

  void Report() const {
    PrintTableHead({"operation", "ext4 us", "bindfs us", "Prism us", "Prism : ext4",
                    "Prism : bindfs", "CPU us: ext4", "bindfs", "Prism"});
    for (const Step& step : steps_) {
      if (!IsChosen(step)) continue;
      ReportRow(step, kPrism, step.cold ? step.name + ", cold kernel" : step.name);
      if (step.cold) ReportRow(step, kPrismRestarted, step.name + ", cold kernel and server");
    }
  }

 private:
  bool IsChosen(const Step& step) const {
    auto is_part = [&](const std::string& part) { return step.name.find(part) != step.name.npos; };
    return options_.only.empty() ||
           std::any_of(options_.only.begin(), options_.only.end(), is_part);
  }
  Work& WorkOf(int contestant) { return work_[std::min<int>(contestant, kPrism)]; }
  uint64_t CpuNs(int contestant) const {
    uint64_t servers = 0;
    if (contestant == kBindfs) servers = ServersCpuNs(options_.hooks + "/pids-bindfs");
    if (contestant >= kPrism) servers = ServersCpuNs(options_.hooks + "/pids-prism");
    return servers + ThreadCpuNs();
  }

  void Measure(Step& step, int contestant) {
    Work& work = WorkOf(contestant);
    if (contestant == kPrismRestarted)
      Check(std::system((options_.hooks + "/restart-prism").c_str()) == 0, "restart-prism");
    if (step.cold) DropCaches();
    if (step.warm_first) step.run(work);
    uint64_t cpu = CpuNs(contestant);
    Stopwatch watch;
    int operations = step.run(work);
    step.wall_us[contestant].Add(watch.WallUs() / operations);
    step.cpu_us[contestant].Add(static_cast<double>(CpuNs(contestant) - cpu) / 1e3 / operations);
  }

  static void DropCaches() {
    sync();
    std::ofstream out("/proc/sys/vm/drop_caches");
    out << "3\n" << std::flush;
    if (!out) Die("cannot write /proc/sys/vm/drop_caches: run as root");
  }

  void ReportRow(const Step& step, int prism, const std::string& name) const {
    PrintRow({name, Figure(step.wall_us[kHost].Median()), Figure(step.wall_us[kBindfs].Median()),
              Figure(step.wall_us[prism].Median()),
              Figure(MedianRatio(step.wall_us[prism], step.wall_us[kHost])),
              "**" + Figure(MedianRatio(step.wall_us[prism], step.wall_us[kBindfs])) + "**",
              Figure(step.cpu_us[kHost].Median()), Figure(step.cpu_us[kBindfs].Median()),
              Figure(step.cpu_us[prism].Median())});
  }

  const Options& options_;
  Work work_[3];
  std::vector<Step> steps_;
};

int Run(int argc, char** argv) {
  Options options;
  bool quick = false;
  CLI::App app{"Mount benchmark: prints a section of Markdown. Run by mount_bench.sh"};
  app.add_option("--host", options.host, "an empty directory on ext4")->required();
  app.add_option("--bindfs", options.bindfs, "an empty directory through bindfs")->required();
  app.add_option("--prism", options.prism, "an empty directory in a Prism mount")->required();
  app.add_option("--hooks", options.hooks,
                 "directory with pids-bindfs, pids-prism and the command restart-prism")
      ->required();
  app.add_option("--only", options.only, "measures only the steps whose names have one of these");
  app.add_option("--rounds", options.rounds, "how often");
  app.add_flag("--quick", quick, "fewer and smaller");
  CLI11_PARSE(app, argc, argv);
  if (quick) {
    options.files = 1000;
    options.files_per_dir = 200;
    options.big_mib = 64;
    options.random_operations = 500;
    options.sync_operations = 20;
    options.rounds = 3;
  }
  MountBench bench(options);
  for (int round = 0; round < options.rounds; ++round) {
    Progress("round " + std::to_string(round + 1) + " of " + std::to_string(options.rounds));
    bench.RunRound(round);
  }
  PrintHeading("Through the mount, microseconds an operation, one thread, " +
               std::to_string(options.files) + " files");
  bench.Report();
  return 0;
}

}  // namespace
}  // namespace prism::bench

int main(int argc, char** argv) { return prism::bench::Run(argc, argv); }
