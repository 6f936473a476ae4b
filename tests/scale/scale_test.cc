// What each verb costs in journal records and tree nodes, over the number of files, the depth of
// clones of clones, and the number of siblings: the same everywhere.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <string_view>

#include "fs/core/host.h"
#include "tests/support/print.h"
#include "tests/support/result.h"
#include "tests/support/temp_dir.h"

namespace prism {
namespace {

using test::Must;
using Clock = std::chrono::steady_clock;
using Rule = fs::ComposeRule;

constexpr fs::Caller kAll{};
constexpr size_t kChanges = 10;

bool IsLong() {
  const char* scale = std::getenv("PRISM_SCALE");
  return scale != nullptr && std::string_view(scale) == "long";
}

struct Cost {
  uint64_t records = 0;
  int64_t nodes = 0;  // made, or looked into by Diff
  double ms = 0;
};

// The most that each may cost, however large everything is. A transaction makes the nodes on the
// ways to what it changes; a way has up to five, of which the lowest may split. A composed volume
// is counted in the background, of which three records may come at any time.
struct Limit {
  const char* verb;
  uint64_t records;
  int64_t nodes;
};
constexpr Limit kLimits[] = {
    {"clone", 1, 0},       {"snapshot", 1, 0},
    {"diff", 4, 240},      {"rollback", 1, 0},
    {"rebase", 20, 400},   {"compose", 5 + 3, 60},
    {"destroy", 1 + 3, 0}, {"destroy composed", 1 + 3, 0},
};

class ScaleTest : public ::testing::Test {
 protected:
  ScaleTest() {
    fs::HostOptions options;
    options.directory = directory_.Path("store");
    options.flush_interval_ms = options.checkpoint_interval_ms = 1u << 30;
    host_ = Must(fs::Host::Open(options));
  }

  InodeId Make(fs::FileSystem& volume, InodeId dir, const std::string& name, fs::FileType type) {
    static const std::byte kBody[16] = {};
    fs::CreateArgs args;
    args.parent = dir;
    args.name = name;
    args.type = type;
    args.mode = 0755;
    if (type == fs::FileType::kRegular) args.data = kBody;
    return Must(volume.Create(kAll, args)).attr.ino;
  }

  // Files below /d0, /d1 and so on.
  void MakeVolume(const std::string& name, size_t files) {
    Must(host_->Create(name, false));
    auto volume = Must(host_->Attach(name, false));
    files_.clear();
    const size_t in_one = std::min<size_t>(files / 4, 1000);
    InodeId dir = 0;
    for (size_t i = 0; i < files; ++i) {
      if (i % in_one == 0)
        dir = Make(*volume, kRootInode, fmt::format("d{}", i / in_one), fs::FileType::kDirectory);
      files_.push_back(Make(*volume, dir, fmt::format("f{}", i), fs::FileType::kRegular));
    }
    Must(host_->Checkpoint());
  }

  // Some of the files, spread over all; another set for another `which`.
  void Change(const std::string& name, size_t which) {
    auto volume = Must(host_->Attach(name, false));
    for (size_t i = 0; i < kChanges; ++i) {
      const std::string text = fmt::format("{} {}", name, ++written_);
      fs::WriteArgs write;
      write.ino = files_[(i * files_.size() / kChanges + which) % files_.size()];
      write.data = std::as_bytes(std::span(text));
      Must(volume->Write(kAll, write));
    }
    volume.reset();
    Must(host_->Flush());
  }

  template <typename Done>
  void Count(const std::string& verb, Done done) {
    Must(host_->Flush());
    const fs::StoreStats before = host_->Stats();
    const auto start = Clock::now();
    const int64_t looked_into = done();
    Cost cost;
    cost.ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    const fs::StoreStats after = host_->Stats();
    cost.records = after.journal_records - before.journal_records;
    cost.nodes = looked_into + static_cast<int64_t>(after.nodes - before.nodes);
    costs_[verb] = cost;
  }

  // Every verb once, on a volume with files_.
  void CountAll(const std::string& at, const std::string& name) {
    const std::string then = name + "@then", now = name + "@now";
    Count("clone", [&] { return Must(host_->Clone(name, {"clone"})), 0; });
    Count("snapshot", [&] { return Must(host_->Snapshot({then}, 0)), 0; });
    Change(name, 0);
    for (int i = 0; i < 3; ++i)  // the last counts: the first may have to read
      Count("diff", [&] {
        const fs::DiffResult diff = Must(host_->Diff(then, name, {}));
        EXPECT_EQ(diff.changed_data, kChanges) << at;
        return static_cast<int64_t>(diff.nodes_visited);
      });
    Count("rollback", [&] { return Must(host_->Rollback(then)), 0; });
    Must(host_->Clone(then, {"child"}));
    Change("child", 1);
    Change(name, 2);
    Must(host_->Snapshot({now}, 0));
    Count("rebase", [&] {
      const auto reports = Must(host_->Rebase({"child"}, now, {.from = then}));
      EXPECT_TRUE(!reports.empty() && reports[0].done && reports[0].conflict_count == 0) << at;
      return 0;
    });
    EXPECT_EQ(Must(host_->Diff(now, "child", {})).changed_data, kChanges) << at;
    Count("compose", [&] {
      const std::vector<Rule> rules = {{Rule::Kind::kGraft, name, "/d0", "/part"},
                                       {Rule::Kind::kExclude, {}, {}, "/d1"},
                                       {Rule::Kind::kEmpty, {}, {}, "/d2"}};
      return Must(host_->Compose("composed", {name, rules})), 0;
    });
    Count("destroy", [&] { return Must(host_->Destroy({"clone"})), 0; });
    Count("destroy composed", [&] { return Must(host_->Destroy({"composed"})), 0; });
    Must(host_->Destroy({"child"}, true));
    Must(host_->Destroy({then, now}));
    for (const Limit& limit : kLimits) {
      const Cost& cost = costs_.at(limit.verb);
      EXPECT_LE(cost.records, limit.records) << limit.verb << ", " << at;
      EXPECT_LE(cost.nodes, limit.nodes) << limit.verb << ", " << at;
      std::printf("%-16s %-17s %3lu records %4ld nodes %8.2f ms\n", at.c_str(), limit.verb,
                  cost.records, cost.nodes, cost.ms);
    }
    // A promise of its own, which only a quiet machine can keep.
    if (IsLong()) {
      EXPECT_LT(costs_.at("diff").ms, 10) << at;
    }
  }

  test::TempDir directory_;
  std::unique_ptr<fs::Host> host_;
  std::vector<InodeId> files_;
  std::map<std::string, Cost> costs_;
  uint64_t written_ = 0;
};

TEST_F(ScaleTest, FlatInTheNumberOfFiles) {
  for (size_t files = 100; files <= (IsLong() ? 1'000'000 : 10'000); files *= 10) {
    const std::string name = fmt::format("v{}", files);
    MakeVolume(name, files);
    CountAll(fmt::format("{} files", files), name);
    Must(host_->Destroy({name}));
  }
}

TEST_F(ScaleTest, FlatInTheDepthOfClones) {
  MakeVolume("v1", 1000);
  std::string name = "v1";
  for (size_t depth = 1, next = 1; depth <= (IsLong() ? 1000 : 100); ++depth) {
    if (depth == next) {
      CountAll(fmt::format("{} deep", depth), name);
      next *= 10;
    }
    const std::string below = fmt::format("v{}", depth + 1);
    Must(host_->Clone(name, {below}));
    Change(below, depth);
    name = below;
  }
}

TEST_F(ScaleTest, FlatInTheNumberOfSiblings) {
  MakeVolume("base", 1000);
  size_t made = 0;
  for (size_t siblings = 1; siblings <= (IsLong() ? 10'000 : 1000); siblings *= 10) {
    std::vector<std::string> names;
    for (; made < siblings; ++made) names.push_back(fmt::format("s{}", made));
    Must(host_->Clone("base", names));
    CountAll(fmt::format("{} siblings", siblings), "base");
    CountAll(fmt::format("one of {}", siblings), "s0");
  }
}

}  // namespace
}  // namespace prism
