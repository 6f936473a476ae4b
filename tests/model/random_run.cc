#include "tests/model/random_run.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <thread>

#include "tests/model/model_host.h"
#include "tests/model/random_compare.h"
#include "tests/model/random_compose.h"

namespace prism::model {
namespace {

constexpr size_t kVolumesMax = 8;
constexpr size_t kSnapshotsMax = 6;
constexpr size_t kHandlesMax = 150;   // of one volume; more only by renames and links
constexpr size_t kComposedMax = 300;  // known inodes of all that one is composed of
constexpr uint32_t kPrefixesTried = 5;
constexpr size_t kHistoryMax = 25;
constexpr uint64_t kWalkEvery = 700;

std::string ErrorOf(const auto& outcome) {
  return outcome ? "ok" : std::string(NameOf(outcome.error().code));
}

class Runner {
 public:
  Runner(const RunOptions& options, const OpenHost& open)
      : options_(options), open_(open), random_(options.seed), opened_(open()) {
    real_ = opened_.get();
  }
  Runner(const RunOptions& options, fs::Host& host, Way way, const AttachTo& attach)
      : options_(options), way_(way), attach_(attach), random_(options.seed), real_(&host) {}

  std::string Run() {
    if (real_ == nullptr) return "the store did not open";
    std::string difference = CreateVolume("v0");
    for (done_ = 0; done_ < options_.ops && difference.empty(); ++done_) {
      difference = Step();
      if (difference.empty() && done_ % kWalkEvery == kWalkEvery - 1) difference = WalkAll();
    }
    if (difference.empty()) difference = WalkAll();
    if (difference.empty()) difference = End();
    return difference.empty() ? "" : Report(difference);
  }

 private:
  std::string Step() {
    if (random_.OneIn(60)) return HostStep();
    if (options_.reopen && random_.OneIn(400)) return Reopen();
    if (options_.checkpoints && random_.OneIn(50)) return MaintenanceStep();
    Pair& pair = pairs_[random_.Below(pairs_.size())];
    pair.DropGone();
    const Choices choices = pair.Offer(random_);
    Operation operation;
    do {
      operation = Draw(random_, choices);
      if (operation.kind == OpKind::kCreate && pair.handle_count() > kHandlesMax)
        operation.kind = random_.OneIn(3) ? OpKind::kRmdir : OpKind::kUnlink;
    } while (!Restrain(way_, pair.handle(operation.target).type, pair.handle(operation.other).type,
                       operation));
    history_.push_back(fmt::format("{:6} {}: {}", done_, pair.name(), operation.Describe()));
    if (history_.size() > kHistoryMax) history_.pop_front();
    return pair.Step(operation);
  }

  std::string HostStep() {
    // What a kernel has not written yet is in no cut.
    if (way_ == Way::kMount)
      for (Pair& pair : pairs_)
        if (!pair.real().Sync({})) return "Sync failed";
    switch (random_.Below(17)) {
      case 12:
        return SealVolume();
      case 13:
      case 14:
      case 15:
      case 16:
        return ComposeVolume();
      case 0:
        return DestroyVolume();
      case 8:
      case 9:
        return SnapshotVolumes();
      case 10:
        return RollBackVolume();
      case 11:
        return HoldVolume();
      case 1:
        return RenameVolume();
      case 2:
        return CreateVolume("v" + std::to_string(random_.Below(1000)));
      default:
        return CloneVolume();
    }
  }

  std::string MaintenanceStep() {
    switch (random_.Below(6)) {
      case 0:
        Note("Drain");
        return real_->Drain() ? "" : "Drain failed";
      case 1:
      case 2:
        Note("Flush");
        return real_->Flush() ? "" : "Flush failed";
      default:
        Note("Checkpoint");
        return real_->Checkpoint() ? "" : "Checkpoint failed";
    }
  }

  // discover: it has more than the pair knows.
  std::string AttachPair(Pair& pair, bool discover = false) {
    auto model = model_.Attach(pair.name(), false);
    std::shared_ptr<fs::FileSystem> real;
    if (way_ != Way::kContract)
      real = attach_(pair.name());
    else if (auto attached = real_->Attach(pair.name(), false))
      real = std::move(*attached);
    if (!model || real == nullptr)
      return fmt::format("attaching '{}': model {}, store {}", pair.name(), ErrorOf(model),
                         real != nullptr);
    pair.Attach(*model, std::move(real));
    return discover ? pair.Discover() : "";
  }

  // Both must say the same.
  std::string Agree(const auto& model, const auto& real) {
    if (ErrorOf(model) == ErrorOf(real)) return {};
    return fmt::format("the model says {}, the store {}", ErrorOf(model), ErrorOf(real));
  }

  std::string CreateVolume(const std::string& name) {
    if (volume_count() >= kVolumesMax) return {};
    Note("Create volume " + name);
    auto model = model_.Create(name, false);
    std::string difference = Agree(model, real_->Create(name, false));
    if (!difference.empty() || !model) return difference;
    pairs_.emplace_back(name, way_);
    return AttachPair(pairs_.back());
  }

  std::string CloneVolume() {
    if (volume_count() >= kVolumesMax) return DestroyVolume();
    size_t source = random_.Below(pairs_.size());
    std::vector<std::string> targets;
    for (uint64_t left = 1 + random_.Below(3); left > 0; --left)
      targets.push_back("v" + std::to_string(random_.Below(1000)));
    Note(fmt::format("Clone {} to {} and {} more", pairs_[source].name(), targets[0],
                     targets.size() - 1));
    auto model = model_.Clone(pairs_[source].name(), targets);
    std::string difference = Agree(model, real_->Clone(pairs_[source].name(), targets));
    if (!difference.empty() || !model) return difference;
    for (const std::string& target : targets) {
      pairs_.push_back(pairs_[source].CloneAs(target));
      difference = AttachPair(pairs_.back(), true);
      if (!difference.empty()) return difference;
    }
    return {};
  }

  static std::string_view VolumeOf(const Pair& pair) {
    return std::string_view(pair.name()).substr(0, pair.name().find('@'));
  }
  size_t volume_count() const {
    return std::count_if(pairs_.begin(), pairs_.end(),
                         [](auto& pair) { return !pair.read_only(); });
  }

  std::string DestroyVolume() {
    const std::string victim = pairs_[random_.Below(pairs_.size())].name();
    const bool whole = victim.find('@') == victim.npos;
    if (whole && volume_count() < 2) return {};
    const bool recursive = random_.OneIn(2);
    Note(fmt::format("Destroy {}{}", victim, recursive ? " and its snapshots" : ""));
    if (!model_.WouldFree({victim}, recursive)) {
      auto model = model_.Destroy({victim}, recursive);
      return Agree(model, real_->Destroy({victim}, recursive));
    }
    std::deque<Pair> gone;
    for (size_t i = pairs_.size(); i-- > 0;) {
      if (pairs_[i].name() != victim && !(whole && VolumeOf(pairs_[i]) == victim)) continue;
      gone.push_back(std::move(pairs_[i]));
      pairs_.erase(pairs_.begin() + static_cast<long>(i));
      // A mount may show for a while what it has in its cache.
      if (random_.OneIn(2) || way_ == Way::kMount) gone.back().Detach();
    }
    std::string difference =
        Agree(model_.Destroy({victim}, recursive), real_->Destroy({victim}, recursive));
    Operation look;
    look.kind = OpKind::kGetattr;
    for (Pair& pair : gone)
      if (difference.empty() && pair.attached()) difference = pair.Step(look);
    return difference;
  }

  std::string SnapshotVolumes() {
    if (pairs_.size() >= kVolumesMax + kSnapshotsMax) return DestroyVolume();
    std::vector<std::string> names;
    std::vector<size_t> sources;
    for (uint64_t left = 1 + random_.Below(2); left > 0; --left) {
      sources.push_back(random_.Below(pairs_.size()));  // of a snapshot: refused
      names.push_back(fmt::format("{}@s{}", pairs_[sources.back()].name(), random_.Below(20)));
    }
    Note(fmt::format("Snapshot {} and {} more", names[0], names.size() - 1));
    auto model = model_.Snapshot(names, 0);
    std::string difference = Agree(model, real_->Snapshot(names, 0));
    if (!difference.empty() || !model) return difference;
    for (size_t i = 0; i < names.size(); ++i) {
      pairs_.push_back(pairs_[sources[i]].CloneAs(names[i]));
      difference = AttachPair(pairs_.back(), true);
      if (!difference.empty()) return difference;
    }
    return {};
  }

  std::string RollBackVolume() {
    Pair& snapshot = pairs_[random_.Below(pairs_.size())];  // no snapshot: refused
    Note("Roll back to " + snapshot.name());
    auto model = model_.Rollback(snapshot.name());
    std::string difference = Agree(model, real_->Rollback(snapshot.name()));
    if (!difference.empty() || !model) return difference;
    for (Pair& pair : pairs_) {
      if (pair.name() != VolumeOf(snapshot)) continue;
      pair.RollBackTo(snapshot);
      if (way_ == Way::kMount) {  // with what its cache had of the other tree
        pair.Detach();
        difference = AttachPair(pair, true);
      } else {
        difference = pair.Discover();
      }
      if (!difference.empty()) return difference;
    }
    return random_.OneIn(3) ? WalkAll() : "";
  }

  std::string ComposeVolume() {
    if (volume_count() >= kVolumesMax) return DestroyVolume();
    std::vector<ComposeSource> sources;
    std::vector<const Pair*> pairs;
    size_t files = 0;
    for (uint64_t left = 1 + random_.Below(3); left > 0; --left) {
      Pair& pair = pairs_[random_.Below(pairs_.size())];
      files += pair.handle_count();
      pairs.push_back(&pair);
      sources.push_back(ListPaths(pair.name(), pair.model()));
    }
    if (files > kComposedMax) return {};
    const fs::ComposeOptions options = DrawCompose(random_, sources);
    const std::string name = "v" + std::to_string(random_.Below(1000));
    Note("Compose " + name + Describe(options));
    auto model = model_.Compose(name, options);
    std::string difference = Agree(model, real_->Compose(name, options));
    if (!difference.empty() || !model) return difference;
    Pair made(name, way_);
    for (const fs::ComposeRule& rule : options.rules)
      if (rule.read_only) made.set_has_read_only();
    for (const Pair* pair : pairs)
      if (pair->has_read_only()) made.set_has_read_only();
    difference = AttachPair(made, true);
    if (!difference.empty()) return difference;
    if (options_.any_number)
      for (const Pair* pair : pairs) made.AddForeign(*pair, kPrefixesTried);
    pairs_.push_back(std::move(made));
    return pairs_.back().Walk(false);
  }

  std::string SealVolume() {
    Pair& pair = pairs_[random_.Below(pairs_.size())];
    const std::string& name = pair.name();
    if (!random_.OneIn(3)) return {};  // for there is no way back
    Note("Seal " + name);
    auto look = [](fs::FileSystem&) -> Outcome<void> { return {}; };
    auto model = model_.Seal(name, {look, "look"});
    if (model) pair.set_sealed();
    return Agree(model, real_->Seal(name, {look, "look"}));
  }

  std::string HoldVolume() {
    const std::string name = pairs_[random_.Below(pairs_.size())].name();
    const bool hold = random_.OneIn(3);
    Note((hold ? "Hold " : "Release ") + name);
    return hold ? Agree(model_.Hold(name, "tag"), real_->Hold(name, "tag"))
                : Agree(model_.Release(name, "tag"), real_->Release(name, "tag"));
  }

  std::string RenameVolume() {
    Pair& pair = pairs_[random_.Below(pairs_.size())];
    std::string to = random_.OneIn(4) ? pairs_[random_.Below(pairs_.size())].name()
                                      : "v" + std::to_string(random_.Below(1000));
    if (pair.read_only() && !random_.OneIn(4)) to = std::string(VolumeOf(pair)) + "@" + to;
    Note(fmt::format("Rename volume {} to {}", pair.name(), to));
    auto model = model_.Rename(pair.name(), to);
    std::string difference = Agree(model, real_->Rename(pair.name(), to));
    const std::string from = pair.name();
    for (Pair& other : pairs_)
      if (model && (other.name() == from || other.name().starts_with(from + "@")))
        other.set_name(to + other.name().substr(from.size()));
    return difference;
  }

  std::string Reopen() {
    Note("Reopen");
    for (Pair& pair : pairs_) pair.Detach();
    opened_.reset();
    opened_ = open_();
    real_ = opened_.get();
    if (real_ == nullptr) return "the store did not open again";
    if (std::string damage = Recount(); !damage.empty()) return damage;
    for (Pair& pair : pairs_) {
      std::string difference = AttachPair(pair);
      if (!difference.empty()) return difference;
    }
    return WalkAll();
  }

  static std::vector<std::string> Names(fs::Host& host) {
    std::vector<std::string> names;
    for (const fs::VolumeInfo& info : host.List())
      names.push_back(
          fmt::format("{} from '{}' {}", info.name, info.parent, fmt::join(info.holds, " ")));
    std::sort(names.begin(), names.end());
    return names;
  }

  std::string WalkAll() {
    Note("Walk");
    if (Names(model_) != Names(*real_)) return "the lists of volumes differ";
    for (Pair& pair : pairs_) {
      std::string difference = pair.Walk(random_.OneIn(2));
      if (difference.empty() && way_ != Way::kContract && !pair.read_only() && !pair.sealed())
        difference = CompareCounts(pair.name());
      if (!difference.empty()) return difference;
    }
    return {};
  }

  // What is unlinked is freed in the background, and what was grafted counted there.
  std::string CompareCounts(const std::string& name) {
    fs::VolumeInfo model, real;
    for (int i = 0; i < 2000; ++i) {
      model = model_.Show(name).value_or(fs::VolumeInfo());
      real = real_->Show(name).value_or(fs::VolumeInfo());
      if (model.id != 0 && model.inodes == real.inodes && !real.uncounted) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return fmt::format("'{}': {} files in the model, {} in the store{}", name, model.inodes,
                       real.inodes, real.uncounted ? ", which are not counted" : "");
  }

  std::string Recount() {
    Note("Check");
    auto report = real_->Check(true);
    if (!report) return report.error().message;
    return fmt::format("{}", fmt::join(report->damages, "\n"));
  }

  // What is said to come back comes back, to the byte.
  std::string DestroySome() {
    Note("Destroy some");
    std::vector<std::string> names;
    for (Pair& pair : pairs_)
      if (!pair.read_only() && random_.OneIn(2)) names.push_back(pair.name());
    if (names.empty()) return {};
    if (!real_->Flush() || !real_->Drain()) return "Drain failed";
    const uint64_t before = real_->Stats().stored_bytes;
    auto usage = real_->WouldFree(names, true);
    (void)model_.Destroy(names, true);
    if (!usage || !real_->Destroy(names, true) || !real_->Drain()) return "destroying some failed";
    const uint64_t freed = before - real_->Stats().stored_bytes;
    if (freed == usage->bytes - usage->metadata_bytes) return {};
    return fmt::format("{} bytes came back, not {}", freed, usage->bytes - usage->metadata_bytes);
  }

  std::string End() {
    std::vector<std::string> names;
    for (Pair& pair : pairs_) {
      pair.Detach();
      (void)model_.Release(pair.name(), "tag");
      (void)real_->Release(pair.name(), "tag");
    }
    if (std::string damage = Recount(); !damage.empty()) return damage;
    if (std::string wrong = DestroySome(); !wrong.empty()) return wrong;
    if (std::string damage = Recount(); !damage.empty()) return damage;
    for (const fs::VolumeInfo& left : model_.List()) names.push_back(left.name);
    Note("Destroy all");
    std::string difference = Agree(model_.Destroy(names), real_->Destroy(names));
    if (!difference.empty()) return difference;
    if (!real_->Drain()) return "Drain failed";
    fs::StoreStats stats = real_->Stats();
    if (stats.volumes + stats.chunks + stats.nodes + stats.pending_nodes + stats.logical_bytes +
            stats.unique_bytes + stats.stored_bytes ==
        0)
      return {};
    return fmt::format(
        "not empty after all was destroyed: {} volumes, {} chunks, {} nodes, {} pending, {} "
        "logical, {} unique, {} stored bytes",
        stats.volumes, stats.chunks, stats.nodes, stats.pending_nodes, stats.logical_bytes,
        stats.unique_bytes, stats.stored_bytes);
  }

  void Note(const std::string& line) {  // of volumes: all are kept
    volume_history_.push_back(fmt::format("{:6} {}", done_, line));
  }

  std::string Report(const std::string& difference) const {
    return fmt::format("seed {}, operation {}: {}\nOf volumes:\n{}\nThe last operations:\n{}\n",
                       options_.seed, done_, difference, fmt::join(volume_history_, "\n"),
                       fmt::join(history_, "\n"));
  }

  const RunOptions options_;
  const OpenHost open_;
  const Way way_ = Way::kContract;
  const AttachTo attach_;
  Random random_;
  ModelHost model_;
  std::unique_ptr<fs::Host> opened_;
  fs::Host* real_ = nullptr;
  std::deque<Pair> pairs_;
  std::vector<std::string> volume_history_;
  std::deque<std::string> history_;
  uint64_t done_ = 0;
};

}  // namespace

std::string RunRandom(const RunOptions& options, const OpenHost& open) {
  return Runner(options, open).Run();
}

std::string RunRandom(const RunOptions& options, fs::Host& host, Way way, const AttachTo& attach) {
  return Runner(options, host, way, attach).Run();
}

}  // namespace prism::model
