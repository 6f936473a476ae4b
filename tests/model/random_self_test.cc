// The random test tests itself: alike implementations pass, and each of a row of implementations
// with one small mistake (the canaries) is caught.
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/model/model_host.h"
#include "tests/model/random_run.h"

namespace prism::model {
namespace {

using fs::Caller;

TEST(RandomSelfTest, TheModelIsLikeItself) {
  for (uint64_t seed : {1, 2, 3}) {
    auto world = std::make_shared<World>();
    OpenHost open = [&] { return std::make_unique<ModelHost>(world); };
    EXPECT_EQ(RunRandom({.seed = seed, .reopen = true, .checkpoints = true}, open), "");
  }
}

// A host whose clients are of the type given.
template <typename Client>
class CanaryHost : public ModelHost {
 public:
  using ModelHost::ModelHost;

 protected:
  std::shared_ptr<ModelFileSystem> MakeClient(std::shared_ptr<World> world,
                                              std::shared_ptr<Volume> volume) override {
    return std::make_shared<Client>(std::move(world), std::move(volume));
  }
};

// Tries some seeds, as a nightly run would.
template <typename Host>
std::string FirstDifference(bool reopen = false) {
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    auto world = std::make_shared<World>();
    OpenHost open = [&] { return std::make_unique<Host>(world); };
    std::string difference = RunRandom({.seed = seed, .ops = 6000, .reopen = reopen}, open);
    if (!difference.empty()) return difference;
  }
  return {};
}

struct LosesAByteAtBlockEdges : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<fs::WriteResult> Write(const Caller& caller, const fs::WriteArgs& args) override {
    auto result = ModelFileSystem::Write(caller, args);
    uint64_t edge = (args.offset / 65536 + 1) * 65536;
    if (!result || args.append || args.offset + args.data.size() <= edge) return result;
    const std::byte wrong{0x7f};
    fs::WriteArgs again = args;
    again.offset = edge;
    again.data = std::span(&wrong, 1);
    EXPECT_TRUE(ModelFileSystem::Write(caller, again).has_value());
    return result;
  }
};

struct PunchesOneByteTooMuch : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<fs::Change> Fallocate(const Caller& caller, InodeId ino, fs::FallocateMode mode,
                               uint64_t offset, uint64_t length) override {
    if (mode == fs::FallocateMode::kPunchHole && length > 0) ++length;
    return ModelFileSystem::Fallocate(caller, ino, mode, offset, length);
  }
};

struct IgnoresNoReplace : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<fs::RenameResult> Rename(const Caller& caller, InodeId from_dir, std::string_view from,
                                  InodeId to_dir, std::string_view to, uint32_t flags) override {
    if (flags == fs::kRenameNoReplace) flags = 0;
    return ModelFileSystem::Rename(caller, from_dir, from, to_dir, to, flags);
  }
};

struct ForgetsSetGroupIdRule : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<fs::Change> Setattr(const Caller& caller, InodeId ino,
                             const fs::SetAttr& changes) override {
    Caller lenient = caller;
    if (changes.mode && !changes.size) lenient.check_permission = false;
    return ModelFileSystem::Setattr(lenient, ino, changes);
  }
};

struct HidesAnEntryOfLongListings : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<fs::ReaddirResult> Readdir(const Caller& caller, InodeId dir, uint64_t cookie,
                                    bool with_attr,
                                    FunctionRef<bool(const fs::DirEntry&)> visitor) override {
    int seen = 0;
    return ModelFileSystem::Readdir(caller, dir, cookie, with_attr, [&](const fs::DirEntry& e) {
      return ++seen == 4 && cookie != 0 ? true : visitor(e);
    });
  }
};

struct CallsDataAHole : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<uint64_t> Seek(const Caller& caller, InodeId ino, uint64_t offset,
                        fs::SeekWhence whence) override {
    auto result = ModelFileSystem::Seek(caller, ino, offset, whence);
    if (result && whence == fs::SeekWhence::kHole && *result > offset + 70000) *result -= 4096;
    return result;
  }
};

struct ReleasesTooEarly : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Result<fs::RemoveResult> Unlink(const Caller& caller, InodeId dir,
                                  std::string_view name) override {
    auto result = ModelFileSystem::Unlink(caller, dir, name);
    if (result && result->removed.nlink == 0 && result->removed.size > 100000) {
      Status released = Release(caller, result->removed.ino);
      EXPECT_TRUE(released.has_value());
    }
    return result;
  }
};

struct LeaksOrphans : ModelFileSystem {
  using ModelFileSystem::ModelFileSystem;
  Status Release(const Caller&, InodeId) override { return {}; }
};

class KeepsBlocksForever : public ModelHost {
 public:
  using ModelHost::ModelHost;
  fs::StoreStats Stats() override {
    fs::StoreStats stats = ModelHost::Stats();
    stats.chunks = 1;
    return stats;
  }
};

class ClonesALittleLate : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<std::vector<fs::VolumeInfo>> Clone(std::string_view source,
                                             const std::vector<std::string>& targets,
                                             std::string_view request_key,
                                             const cow::QuotaChange& quota) override {
    auto result = ModelHost::Clone(source, targets, request_key, quota);
    if (!result) return result;
    auto late = Attach(targets[0], false);
    fs::SetAttr touch;
    touch.mode = 0711;
    EXPECT_TRUE(late && (*late)->Setattr({}, kRootInode, touch).has_value());
    return result;
  }
};

class LosesTheLastClone : public ModelHost {
 public:
  explicit LosesTheLastClone(std::shared_ptr<World> world) : ModelHost(world) {
    std::vector<fs::VolumeInfo> all = List();
    if (all.size() < 2) return;
    auto last =
        std::max_element(all.begin(), all.end(), [](auto& a, auto& b) { return a.id < b.id; });
    (void)Destroy({last->name}, true);  // unless it is held
  }
};

class RollsBackToNow : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<fs::VolumeInfo> Rollback(std::string_view snapshot, std::string_view) override {
    return Show(snapshot.substr(0, snapshot.find('@')));
  }
};

class LosesASnapshotOfSeveral : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<std::vector<fs::VolumeInfo>> Snapshot(const std::vector<std::string>& names,
                                                int64_t ttl_sec, std::string_view) override {
    auto result = ModelHost::Snapshot(names, ttl_sec);
    if (result && names.size() > 1) (void)Destroy({names.back()});
    return result;
  }
};

class ForgetsHolds : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<fs::VolumeInfo> Hold(std::string_view name, std::string_view, std::string_view) override {
    return Show(name);
  }
};

class CountsTooMuch : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<fs::ExclusiveUsage> WouldFree(const std::vector<std::string>& names,
                                        bool recursive) override {
    auto usage = ModelHost::WouldFree(names, recursive);
    if (usage) ++usage->bytes;
    return usage;
  }
};

// Composes by other rules than it was told.
class ChangesRules : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<fs::VolumeInfo> Compose(std::string_view name, const fs::ComposeOptions& options,
                                  std::string_view request_key) override {
    fs::ComposeOptions changed = options;
    Change(changed);
    return ModelHost::Compose(name, changed, request_key);
  }

 private:
  virtual void Change(fs::ComposeOptions& options) = 0;
};

template <fs::ComposeRule::Kind kKind>
class ForgetsRules : public ChangesRules {
  using ChangesRules::ChangesRules;
  void Change(fs::ComposeOptions& options) override {
    fs::ComposeOptions others = options;
    std::erase_if(others.rules, [](const auto& rule) { return rule.kind == kKind; });
    if (!others.rules.empty() || !others.base.empty()) options = others;
  }
};

class KeepsWhatWasVolatile : public ChangesRules {
  using ChangesRules::ChangesRules;
  void Change(fs::ComposeOptions& options) override {
    for (fs::ComposeRule& rule : options.rules)
      if (rule.kind == fs::ComposeRule::Kind::kVolatile) rule.kind = fs::ComposeRule::Kind::kEmpty;
  }
};

class LetsReadOnlyPartsChange : public ChangesRules {
  using ChangesRules::ChangesRules;
  void Change(fs::ComposeOptions& options) override {
    for (fs::ComposeRule& rule : options.rules) rule.read_only = false;
  }
};

class SealsNothing : public ModelHost {
 public:
  using ModelHost::ModelHost;
  Outcome<fs::VolumeInfo> Seal(std::string_view name, const fs::Inspection&,
                               std::string_view) override {
    auto look = [](fs::FileSystem&) -> Outcome<void> { return {}; };
    return name.find('@') == name.npos ? Show(name) : ModelHost::Seal(name, {look, "look"});
  }
};

TEST(CanaryTest, MistakesOfComposingAreCaught) {
  using Kind = fs::ComposeRule::Kind;
  EXPECT_NE(FirstDifference<ForgetsRules<Kind::kGraft>>(), "");
  EXPECT_NE(FirstDifference<ForgetsRules<Kind::kExclude>>(), "");
  EXPECT_NE(FirstDifference<ForgetsRules<Kind::kEmpty>>(), "");
  EXPECT_NE(FirstDifference<KeepsWhatWasVolatile>(), "");
  EXPECT_NE(FirstDifference<LetsReadOnlyPartsChange>(), "");
  EXPECT_NE(FirstDifference<SealsNothing>(), "");
}

TEST(CanaryTest, MistakesOfContentAreCaught) {
  EXPECT_NE(FirstDifference<CanaryHost<LosesAByteAtBlockEdges>>(), "");
  EXPECT_NE(FirstDifference<CanaryHost<PunchesOneByteTooMuch>>(), "");
  EXPECT_NE(FirstDifference<CanaryHost<CallsDataAHole>>(), "");
}

TEST(CanaryTest, MistakesOfNamesAreCaught) {
  EXPECT_NE(FirstDifference<CanaryHost<IgnoresNoReplace>>(), "");
  EXPECT_NE(FirstDifference<CanaryHost<HidesAnEntryOfLongListings>>(), "");
}

TEST(CanaryTest, MistakesOfPermissionAreCaught) {
  EXPECT_NE(FirstDifference<CanaryHost<ForgetsSetGroupIdRule>>(), "");
}

TEST(CanaryTest, MistakesOfLifetimeAreCaught) {
  EXPECT_NE(FirstDifference<CanaryHost<ReleasesTooEarly>>(), "");
  EXPECT_NE(FirstDifference<CanaryHost<LeaksOrphans>>(), "");
  EXPECT_NE(FirstDifference<KeepsBlocksForever>(), "");
}

TEST(CanaryTest, MistakesOfClonesAndRestartsAreCaught) {
  EXPECT_NE(FirstDifference<ClonesALittleLate>(), "");
  EXPECT_NE(FirstDifference<LosesTheLastClone>(true), "");
}

TEST(CanaryTest, MistakesOfSnapshotsAreCaught) {
  EXPECT_NE(FirstDifference<RollsBackToNow>(), "");
  EXPECT_NE(FirstDifference<LosesASnapshotOfSeveral>(), "");
  EXPECT_NE(FirstDifference<ForgetsHolds>(), "");
  EXPECT_NE(FirstDifference<CountsTooMuch>(), "");
}

}  // namespace
}  // namespace prism::model
