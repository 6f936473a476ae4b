// kill -9 at random moments, also during recovery: nothing that was acknowledged is lost, and what
// was not is old or new.
//
// PRISM_CRASH_SEED and PRISM_CRASH_ROUNDS (per store; 4 stores) make longer or other runs;
// PRISM_CRASH_DIR says where the stores are, PRISM_CRASH_KEEP keeps them.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <random>

#include "tests/crash/oracle.h"
#include "tests/crash/script.h"
#include "tests/crash/worker.h"

namespace prism::crash {
namespace {

class CrashTest : public ::testing::Test {
 protected:
  WorkerOptions Options(const std::string& mode) {
    WorkerOptions options;
    options.mode = mode;
    options.store = folder_.path() + "/store";
    options.folder = folder_.path() + "/work";
    options.seed = rng_();
    return options;
  }

  // A store with two volumes and nothing in them.
  void Begin(uint64_t seed) {
    rng_.seed(seed);
    std::filesystem::remove_all(folder_.path() + "/store");
    Script script = {{"",
                      {{.kind = OpKind::kVolumeCreate, .path = "a"},
                       {.kind = OpKind::kVolumeCreate, .path = "b"}}}};
    WorkerOptions options = Options("run");
    options.script = &script;
    WorkerResult made = RunWorker(options);
    ASSERT_TRUE(made.good()) << made.Describe();
    store_ = {{"a", {}}, {"b", {}}};
  }

  Script MakeRandomScript(uint32_t ops) {
    ScriptOptions options;
    options.seed = rng_();
    options.threads = 2 + static_cast<uint32_t>(rng_() % 3);
    options.ops_per_thread = ops;
    return MakeScript(store_, options);
  }

  // Neither those of files nor those that volumes bring with them.
  static void RemoveSyncs(Script& script) {
    std::erase_if(script, [](const ThreadScript& thread) { return thread.volume.empty(); });
    for (ThreadScript& thread : script)
      std::erase_if(thread.ops, [](const Op& op) {
        return op.kind == OpKind::kFsync || op.kind == OpKind::kWriteSync ||
               op.kind == OpKind::kSync || op.kind == OpKind::kFlush ||
               op.kind == OpKind::kCheckpoint;
      });
  }

  // Kills it while it recovers, perhaps several times.
  void KillWhileOpening() {
    for (uint64_t left = rng_() % 3; left > 0; --left) {
      WorkerOptions options = Options("open");
      options.kill_after_us = 5000 + rng_() % 150000;
      WorkerResult opened = RunWorker(options);
      ASSERT_TRUE(opened.killed || opened.good()) << opened.Describe();
    }
  }

  // Opens what was left, compares, and takes it as the beginning of the next round.
  std::vector<std::string> Verify(const Script& script, const WorkerResult& run) {
    WorkerResult dump = RunWorker(Options("dump"));
    if (!dump.good()) return {"the store cannot be read: " + dump.Describe()};
    Oracle oracle(store_, script, run.events);
    std::vector<std::string> problems = oracle.Check(dump.found);
    acknowledged_ += oracle.acknowledged();
    if (!dump.errors.empty()) problems.push_back(dump.errors + dump.log);
    store_ = std::move(dump.found);
    return problems;
  }

  void ExpectEmptiable() {
    if (HasFailure()) return;  // what is there is evidence
    WorkerResult emptied = RunWorker(Options("empty"));
    EXPECT_TRUE(emptied.good() && emptied.errors.empty()) << emptied.Describe();
  }

  TemporaryFolder folder_;
  std::mt19937_64 rng_;
  Store store_;
  uint64_t acknowledged_ = 0;
};

TEST_F(CrashTest, KilledUnderLoadManyTimes) {
  const uint64_t seed = FromEnvironment("PRISM_CRASH_SEED", 1);
  const uint64_t rounds = FromEnvironment("PRISM_CRASH_ROUNDS", 5);
  const uint64_t stores = FromEnvironment("PRISM_CRASH_STORES", 4);
  uint64_t killed = 0, events = 0;
  for (uint64_t s = 0; s < stores; ++s) {
    ASSERT_NO_FATAL_FAILURE(Begin(seed + s));
    for (uint64_t round = 0; round < rounds; ++round) {
      SCOPED_TRACE(fmt::format("PRISM_CRASH_SEED={} round {}", seed + s, round));
      Script script = MakeRandomScript(400);
      WorkerOptions options = Options("run");
      options.script = &script;
      options.kill_after_events = rng_() % (script.size() * 900);
      options.stay = rng_() % 2 == 0;
      WorkerResult run = RunWorker(options);
      ASSERT_TRUE(run.killed || run.good()) << run.Describe();
      for (const Event& event : run.events) ASSERT_EQ(event.error, 0u) << run.Describe();
      killed += run.killed;
      events += run.events.size();
      ASSERT_NO_FATAL_FAILURE(KillWhileOpening());
      for (const std::string& problem : Verify(script, run)) ADD_FAILURE() << problem;
      if (HasFailure()) return;
    }
    ExpectEmptiable();
  }
  EXPECT_GT(acknowledged_, 0u);
  fmt::print("seed {}: {} rounds, {} killed, {} events, {} operations had to survive\n", seed,
             stores * rounds, killed, events, acknowledged_);
}

// The machine lives on, and so do the clients, who have seen all of it done.
TEST_F(CrashTest, WhatNobodySyncedOutlivesTheProcess) {
  uint64_t killed = 0;
  for (uint64_t seed = 1; seed <= 6; ++seed) {
    SCOPED_TRACE(seed);
    ASSERT_NO_FATAL_FAILURE(Begin(seed));
    Script script = MakeRandomScript(200);
    RemoveSyncs(script);
    WorkerOptions options = Options("run");
    options.script = &script;
    options.kill_after_events = 200 + rng_() % 200;
    WorkerResult run = RunWorker(options);
    killed += run.killed;
    ASSERT_NO_FATAL_FAILURE(KillWhileOpening());
    for (const std::string& problem : Verify(script, run)) ADD_FAILURE() << problem;
  }
  EXPECT_GT(killed, 3u);
}

// Cut to where its unsaved bytes still reach, but what is saved of it does not.
TEST_F(CrashTest, ACutOutlivesTheProcessWithItsSize) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  ASSERT_NO_FATAL_FAILURE(Begin(1));
  Script script = {
      {"a",
       {{.kind = OpKind::kMkdir, .path = "t0", .mode = 0755},
        {.kind = OpKind::kCreate, .path = "t0/f", .mode = 0644},
        {.kind = OpKind::kWrite, .path = "t0/f", .length = kMiB, .tag = 1},
        {.kind = OpKind::kFsync, .path = "t0/f"},
        {.kind = OpKind::kWrite, .path = "t0/f", .offset = 2 * kMiB, .length = 4096, .tag = 2},
        {.kind = OpKind::kWrite, .path = "t0/f", .offset = 5 * kMiB, .length = 4096, .tag = 3},
        {.kind = OpKind::kTruncate, .path = "t0/f", .offset = 3 * kMiB}}}};
  WorkerOptions options = Options("run");
  options.script = &script;
  options.stay = true;
  WorkerResult run = RunWorker(options);
  ASSERT_TRUE(run.killed) << run.Describe();
  for (const Event& event : run.events) ASSERT_EQ(event.error, 0u) << run.Describe();
  WorkerResult dump = RunWorker(Options("dump"));
  ASSERT_TRUE(dump.good()) << dump.Describe();
  Object* file = dump.found["a"]["t0"].Find("t0/f");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->content.size(), 3 * kMiB);
}

// Without any sync: "by itself within seconds".
TEST_F(CrashTest, EverythingIsDurableWithinSeconds) {
  ASSERT_NO_FATAL_FAILURE(Begin(77));
  Script script = MakeRandomScript(60);
  RemoveSyncs(script);
  WorkerOptions options = Options("run");
  options.script = &script;
  options.stay = true;
  options.linger_ms = 3000;
  WorkerResult run = RunWorker(options);
  ASSERT_TRUE(run.killed) << run.Describe();
  run.events.push_back({Event::Kind::kClosed, 0, 0, 0});     // as if it had closed the store
  std::filesystem::remove(options.store + "/journal/tail");  // what a power cut does not leave
  for (const std::string& problem : Verify(script, run)) ADD_FAILURE() << problem;
  ExpectEmptiable();
}

// The canary: a server that acknowledges without syncing must be caught.
TEST_F(CrashTest, AServerThatDoesNotSyncIsCaught) {
  bool caught = false;
  for (uint64_t seed = 1; seed <= 10 && !caught; ++seed) {
    ASSERT_NO_FATAL_FAILURE(Begin(seed));
    Script script = MakeRandomScript(200);
    std::erase_if(script, [](const ThreadScript& thread) { return thread.volume.empty(); });
    WorkerOptions options = Options("run");
    options.script = &script;
    options.canary_skip_sync = true;
    options.kill_after_events = 200 + rng_() % 200;
    WorkerResult run = RunWorker(options);
    WorkerResult dump = RunWorker(Options("dump"));
    ASSERT_TRUE(dump.good() && dump.errors.empty()) << dump.Describe();
    caught = !Oracle(store_, script, run.events).Check(dump.found).empty();
  }
  EXPECT_TRUE(caught);
}

}  // namespace
}  // namespace prism::crash
