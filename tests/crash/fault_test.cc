// A disk that fails: the n-th call of a kind fails, once or from then on. The operation reports it,
// nothing is corrupted, and a server on a good disk finds everything that was acknowledged.
//
// PRISM_FAULT_RUNS: how many positions are tried in each test beyond the first few.
#include "tests/crash/power_fixture.h"

namespace prism::crash {
namespace {

struct Fault {
  const char* call_class;
  int error_number;
  const char* how;
};

void PrintTo(const Fault& fault, std::ostream* out) {
  *out << fault.call_class << " " << fault.error_number << " " << fault.how;
}

class FaultTest : public PowerTest, public ::testing::WithParamInterface<Fault> {
 protected:
  void SetUp() override {
    rng_.seed(FromEnvironment("PRISM_CRASH_SEED", 3));
    Script make = {{"",
                    {{.kind = OpKind::kVolumeCreate, .path = "a"},
                     {.kind = OpKind::kVolumeCreate, .path = "b"}}}};
    made_ = Record("run", Path("template"), {}, make);
    ASSERT_TRUE(made_.run.good()) << made_.run.Describe();
    ScriptOptions options;
    options.seed = rng_();
    options.threads = 2;
    options.ops_per_thread = 80;
    options.volume_ops = 8;
    script_ = MakeScript({{"a", {}}, {"b", {}}}, options);
  }

  // False: the call was never reached.
  bool RunWithFault(uint64_t position) {
    std::filesystem::remove_all(Path("store"));
    std::filesystem::copy(Path("template"), Path("store"),
                          std::filesystem::copy_options::recursive);
    PowerDisk disk;
    disk.LoadSynced(Path("store"));
    fail_ = fmt::format("{} {} {} {}", GetParam().call_class, position, GetParam().error_number,
                        GetParam().how);
    Session session = Record("run", Path("store"), {{"a", {}}, {"b", {}}}, script_);
    if (!std::filesystem::exists(Path("fired"))) return false;
    std::string trace =
        fmt::format("PRISM_SHIM_FAIL=\"{}\" ({})", fail_, ReadWholeFile(Path("fired")));
    fail_.clear();
    // Closing is no promise when the disk fails meanwhile.
    std::erase_if(session.run.events,
                  [](const Event& event) { return event.kind == Event::Kind::kClosed; });
    CheckEnding(session.run, trace);
    Judge(Path("store"), session, session.run.events, trace);
    if (std::string_view(GetParam().call_class) == "sync") LosePowerAfter(disk, session, trace);
    return true;
  }

  // It ends by itself and says why. To stop rather than guess is right where a reference count
  // cannot be read (cow/ref_table.cc).
  void CheckEnding(const WorkerResult& run, const std::string& trace) {
    bool stopped = run.signal == SIGABRT && run.log.find("reference count") != std::string::npos;
    bool refused = run.exit_code == 2 && run.log.find("open: ") != std::string::npos;
    if (!run.good() && !refused && !stopped)
      problems_.push_back(trace + ": ended badly: " + run.Describe());
    bool failed_operation = refused || stopped;
    for (const Event& event : run.events) {
      if (event.kind != Event::Kind::kEnd || event.error == 0) continue;
      failed_operation = true;
      auto error = static_cast<Err>(event.error);
      if (error != Err::kIo && error != Err::kNoSpace)
        problems_.push_back(trace + ": an operation failed with the wrong error: " + run.log);
    }
    failed_operations_ += failed_operation;
  }

  // A sync that failed may have dropped what it was to write: no later sync brings it back.
  void LosePowerAfter(PowerDisk& disk, const Session& session, const std::string& trace) {
    disk.NewProcess();
    for (PowerLogReader reader(session.log); reader.Next();)
      disk.Apply(reader.record(), reader.path(), reader.path2(), reader.data());
    disk.Materialize(Path("image"), PowerDisk::Loss::kEverything, rng_);
    Judge(Path("image"), session, session.run.events, trace + ", then the power goes");
  }

  Script script_;
  uint64_t failed_operations_ = 0;
};

TEST_P(FaultTest, ReportsAndLosesNothing) {
  const uint64_t more = FromEnvironment("PRISM_FAULT_RUNS", 4);
  uint64_t runs = 0, last = 0;
  for (uint64_t position = 1; RunWithFault(position); position += 1 + position / 2) {
    last = position;
    ++runs;
  }
  for (uint64_t i = 0; i < more && last > 0; ++i) runs += RunWithFault(1 + rng_() % last);
  for (const std::string& problem : problems_) ADD_FAILURE() << problem;
  EXPECT_GT(runs, 3u);
  EXPECT_GT(failed_operations_, 0u);
  fmt::print("{} runs up to call {}; in {} an operation reported it\n", runs, last,
             failed_operations_);
}

INSTANTIATE_TEST_SUITE_P(
    Calls, FaultTest,
    ::testing::Values(Fault{"write", EIO, "once"}, Fault{"write", ENOSPC, "always"},
                      Fault{"write", ENOSPC, "once"}, Fault{"sync", EIO, "once"},
                      Fault{"sync", EIO, "always"}, Fault{"name", EIO, "once"},
                      Fault{"name", ENOSPC, "always"}, Fault{"read", EIO, "once"}),
    [](const auto& test) {
      return fmt::format("{}_{}_{}", test.param.call_class,
                         test.param.error_number == EIO ? "eio" : "enospc", test.param.how);
    });

// The canary: a disk that drops writes without a word must be noticed.
TEST_F(PowerTest, ADiskThatDropsWritesIsCaught) {
  rng_.seed(4);
  Script make = {{"", {{.kind = OpKind::kVolumeCreate, .path = "a"}}}};
  made_ = Record("run", Path("store"), {}, make);
  ASSERT_TRUE(made_.run.good()) << made_.run.Describe();
  ScriptOptions options;
  options.seed = 4;
  options.ops_per_thread = 200;
  lie_ = "write";
  Session session = Record("run", Path("store"), {{"a", {}}}, MakeScript({{"a", {}}}, options));
  lie_.clear();
  Judge(Path("store"), session, session.run.events, "writes were dropped");
  EXPECT_FALSE(problems_.empty());
  if (!problems_.empty()) fmt::print("{:.300}\n", problems_.front());
}

}  // namespace
}  // namespace prism::crash
