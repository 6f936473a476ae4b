// A store whose server runs under the shim, and whose disk can lose its power.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "tests/crash/oracle.h"
#include "tests/crash/power_image.h"
#include "tests/crash/script.h"
#include "tests/crash/worker.h"

namespace prism::crash {

// A process that ran on the disk, and all it did there.
struct Session {
  Store initial;
  Script script;
  std::string log;
  WorkerResult run;
};

class PowerTest : public ::testing::Test {
 protected:
  WorkerOptions Options(const std::string& mode, const std::string& store) {
    WorkerOptions options;
    options.mode = mode;
    options.store = store;
    options.folder = folder_.path() + "/work";
    options.seed = rng_();
    return options;
  }

  // Runs a worker under the shim.
  Session Record(const std::string& mode, const std::string& store, Store initial, Script script) {
    Session session{std::move(initial), std::move(script), {}, {}};
    WorkerOptions options = Options(mode, store);
    if (mode == "run") options.script = &session.script;
    std::string log = folder_.path() + "/log";
    std::filesystem::remove(log);
    options.environment = {{"LD_PRELOAD", PRISM_POWER_SHIM}, {kShimStore, store}, {kShimLog, log}};
    if (!lie_.empty()) options.environment.emplace_back(kShimLie, lie_);
    if (!fail_.empty()) {
      std::filesystem::remove(Path("fired"));
      options.environment.emplace_back(kShimFail, fail_);
      options.environment.emplace_back(kShimFired, Path("fired"));
    }
    session.run = RunWorker(options);
    session.log = ReadWholeFile(log);
    return session;
  }

  // The two processes of a store's first minutes: one makes it, one works in it.
  void RecordStore(uint64_t seed, uint32_t ops) {
    rng_.seed(seed);
    Script make = {{"",
                    {{.kind = OpKind::kVolumeCreate, .path = "a"},
                     {.kind = OpKind::kVolumeCreate, .path = "b"}}}};
    made_ = Record("run", Path("store"), {}, make);
    ASSERT_TRUE(made_.run.good()) << made_.run.Describe();
    Store store = {{"a", {}}, {"b", {}}};
    ScriptOptions options;
    options.seed = rng_();
    options.threads = 3;
    options.ops_per_thread = ops;
    Script script = MakeScript(store, options);
    worked_ = Record("run", Path("store"), store, std::move(script));
    ASSERT_TRUE(worked_.run.good()) << worked_.run.Describe();
  }

  std::string Path(const std::string& name) const { return folder_.path() + "/" + name; }

  // Crash points: right after something was acknowledged, where most can be wrong, and anywhere.
  std::set<size_t> ChoosePoints(const Session& session, size_t count) {
    std::vector<size_t> marks;
    size_t records = 0;
    for (PowerLogReader reader(session.log); reader.Next(); ++records)
      if (reader.record().kind == PowerRecord::Kind::kMark) marks.push_back(records);
    std::set<size_t> points;
    count = std::min(count, records);
    while (points.size() < count)
      points.insert(rng_() % 2 == 0 && !marks.empty() ? marks[rng_() % marks.size()]
                                                      : rng_() % records);
    return points;
  }

  // Lets the disk go through a session; at each point the power goes.
  void Replay(PowerDisk& disk, const Session& session, const std::set<size_t>& points) {
    disk.NewProcess();
    std::vector<Event> events;
    size_t at = 0;
    for (PowerLogReader reader(session.log); reader.Next(); ++at) {
      disk.Apply(reader.record(), reader.path(), reader.path2(), reader.data());
      if (reader.record().kind == PowerRecord::Kind::kMark) {
        Event event;
        ASSERT_EQ(reader.data().size(), sizeof event);
        std::memcpy(&event, reader.data().data(), sizeof event);
        events.push_back(event);
      }
      if (!points.contains(at)) continue;
      LosePower(disk, session, events, fmt::format("record {}", at));
      if (HasFatalFailure() || problems_.size() > problems_max_) return;
    }
  }

  void LosePower(const PowerDisk& disk, const Session& session, const std::vector<Event>& events,
                 const std::string& where) {
    auto loss = static_cast<PowerDisk::Loss>(rng_() % 4);
    std::string image = Path("image");
    disk.Materialize(image, loss, rng_);
    std::string trace = fmt::format("{}, loss {}", where, static_cast<int>(loss));
    if (rng_() % 3 == 0) {
      RecoverAndLosePowerAgain(image);
      trace += ", and again during recovery";
    }
    ++images_;
    Judge(image, session, events, trace);
  }

  void RecoverAndLosePowerAgain(const std::string& image) {
    PowerDisk disk;
    disk.LoadSynced(image);
    Session recovery = Record("open", image, {}, {});
    if (!recovery.run.good()) problems_.push_back("recovery: " + recovery.run.Describe());
    std::set<size_t> point = ChoosePoints(recovery, 1);
    size_t at = 0;
    for (PowerLogReader reader(recovery.log); reader.Next() && at < *point.begin(); ++at)
      disk.Apply(reader.record(), reader.path(), reader.path2(), reader.data());
    disk.Materialize(image, static_cast<PowerDisk::Loss>(rng_() % 4), rng_);
  }

  void Judge(const std::string& image, const Session& session, const std::vector<Event>& events,
             const std::string& trace) {
    WorkerResult dump = RunWorker(Options("dump", image));
    if (!dump.good()) return problems_.push_back(trace + ": " + dump.Describe());
    Oracle oracle(session.initial, session.script, events, End::kPowerCut);
    for (const std::string& problem : oracle.Check(dump.found))
      problems_.push_back(trace + ": " + problem);
    acknowledged_ += oracle.acknowledged();
    if (!dump.errors.empty()) problems_.push_back(trace + ": " + dump.errors + dump.log);
    if (rng_() % 4 != 0) return;
    WorkerResult emptied = RunWorker(Options("empty", image));
    if (!emptied.good() || !emptied.errors.empty())
      problems_.push_back(trace + ": " + emptied.Describe());
  }

  TemporaryFolder folder_;
  std::mt19937_64 rng_;
  std::string lie_;  // what the shim lies about, and what it fails: tests/crash/power_log.h
  std::string fail_;
  Session made_, worked_;
  std::vector<std::string> problems_;
  size_t problems_max_ = 0;
  uint64_t images_ = 0;
  uint64_t acknowledged_ = 0;
};

}  // namespace prism::crash
