// Rebase, merge, and going back in a part: what comes out is made aside, as a hidden clone, and
// then becomes the volume's content by one record. A crash before that leaves a hidden clone, which
// the next start destroys.
#include <fmt/chrono.h>
#include <spdlog/spdlog.h>

#include <ctime>
#include <map>
#include <set>

#include "fs/core/hidden_volumes.h"
#include "fs/core/host_impl.h"
#include "fs/core/merge_apply.h"
#include "fs/core/merge_charge.h"
#include "fs/core/merge_path.h"

namespace prism::fs {
namespace {

// A volume that is being written to while it is merged is merged again; the last time its writers
// wait, for as long as its changes take.
constexpr int kTriesAmongWriters = 2;

std::string_view TextOf(OnConflict on_conflict) {
  switch (on_conflict) {
    case OnConflict::kStop:
      return "stop";
    case OnConflict::kMine:
      return "mine";
    case OnConflict::kTheirs:
      return "theirs";
  }
  return "";
}

// The same verb may do several volumes for one key: each is a request of its own.
Outcome<clone::Request> NameMerge(std::string_view key, const char* verb, VolumeId volume,
                                  std::vector<std::string> arguments, const MergeOptions& options) {
  if (key.empty() || options.dry_run) return clone::Request();
  arguments.emplace_back(options.from);
  arguments.emplace_back(options.keep);
  arguments.emplace_back(TextOf(options.on_conflict));
  return clone::NameRequest(fmt::format("{}:{}", key, volume), verb, arguments);
}

tl::unexpected<Failure> MergeFailed(Err err, std::string_view mine, std::string_view theirs) {
  if (err == Err::kTooBig)
    return Explain(err, "more than {} items differ between \"{}\" and \"{}\"", kDiffItemsMax, mine,
                   theirs);
  if (err == Err::kNotSupported)
    return Explain(err, "\"{}\" and \"{}\" have used the same inode numbers for different files",
                   mine, theirs);
  if (err == Err::kNoSpace) return Explain(err, "the store is full");
  return Failed(err, "merging");
}

}  // namespace

struct HostImpl::MergeJob {
  const char* verb = "";
  std::string mine, theirs, target;  // names of volumes; the target is one of the two
  MergeOptions options;
  clone::Request request;
  std::string path = {};  // only this of mine, and theirs is the base; empty: all
};

Outcome<std::string> HostImpl::LabelFor(const MergeJob& job) {
  const std::string& asked = job.options.keep;
  const std::string label =
      asked.empty() ? fmt::format("before-{}-{:%Y%m%dT%H%M%SZ}", job.verb,
                                  fmt::gmtime(static_cast<std::time_t>(clone::NowSec())))
                    : asked;
  std::string free = label;
  for (int i = 2; catalog_->Find(job.target + "@" + free); ++i) {
    if (!asked.empty())
      return Explain(Err::kExists, "snapshot \"{}@{}\" exists already", job.target, label);
    free = fmt::format("{}-{}", label, i);
  }
  PRISM_TRY(clone::ParseSnapshotName(job.target + "@" + free));
  return free;
}

// The name of what the changes are counted from.
Outcome<std::string> HostImpl::ChooseBase(const MergeJob& job, const clone::CatalogEntry& mine,
                                          const clone::CatalogEntry& theirs) {
  const clone::Lineage &past = mine.row.past, &other = theirs.row.past;
  const std::optional<clone::Place> common = clone::CommonPlace(past, other);
  if (!common)
    return Explain(Err::kInvalid, "\"{}\" and \"{}\" come from nothing that is known to be common",
                   job.mine, job.theirs);
  if (job.options.from.empty()) {
    if (std::optional<clone::CatalogEntry> base = catalog_->FindAt(*common)) return base->row.name;
    return Explain(Err::kNoEntry,
                   "what \"{}\" and \"{}\" were last the same as is gone: no snapshot was taken "
                   "of it, or it has been destroyed. Name an older one by --from",
                   job.mine, job.theirs);
  }
  PRISM_ASSIGN(const clone::CatalogEntry base, catalog_->Find(job.options.from));
  const clone::Lineage from = clone::LineageUntilNow(base.row);
  if (from.empty() || !clone::DescendsFrom(past, from.back()))
    return Explain(Err::kInvalid, "\"{}\" does not come from \"{}\" as that is now", job.mine,
                   job.options.from);
  if (!clone::CommonPlace(from, other))
    return Explain(Err::kInvalid, "\"{}\" and \"{}\" come from nothing that is known to be common",
                   job.options.from, job.theirs);
  return job.options.from;
}

Outcome<MergeReport> HostImpl::RunMerge(const MergeJob& job) {
  PRISM_ASSIGN(const auto done, catalog_->FindDone(job.request));
  if (done) {
    MergeReport report;
    report.volume = done->front().row.name;
    report.done = true;
    return report;
  }
  for (int i = 0;; ++i) {
    const bool frozen = i == kTriesAmongWriters;
    Outcome<MergeReport> report = TryMerge(job, frozen);
    if (report || report.error().code != Err::kAgain || frozen) return report;
  }
}

// What the two hold now: mine, theirs, and what is to become of theirs.
Outcome<std::vector<clone::CatalogEntry>> HostImpl::PinSides(const MergeJob& job, bool frozen,
                                                             VolumeId target) {
  std::map<VolumeId, DataGate> gates;
  for (const std::string& name : {job.mine, job.theirs}) {
    PRISM_ASSIGN(const clone::CatalogEntry entry, catalog_->Find(name));
    if (gates.contains(entry.row.id) || (frozen && entry.row.id == target)) continue;
    PRISM_ASSIGN(gates[entry.row.id], GateOf(entry.row.id));
  }
  return catalog_->Pin({job.mine, job.theirs, job.theirs});
}

Outcome<clone::CatalogEntry> HostImpl::PinBase(const MergeJob& job, const HiddenVolumes& pins,
                                               std::string& name) {
  PRISM_ASSIGN(name, ChooseBase(job, pins[0], pins[1]));
  PRISM_ASSIGN(std::vector<clone::CatalogEntry> pinned, catalog_->Pin({name}));
  const clone::CatalogEntry base = pinned.front();
  if (clone::DescendsFrom(pins[0].row.past, base.row.past.back())) return base;
  catalog_->Unpin(pinned);
  return Explain(Err::kAgain, "\"{}\" is being changed", name);
}

// The pins of PinSides, and the base.
Outcome<void> HostImpl::MakeBranch(const MergeJob& job, const HiddenVolumes& pins,
                                   MergeReport& report) {
  const clone::CatalogEntry &mine = pins[0], &theirs = pins[1], &branch = pins[2];
  const clone::CatalogEntry& base = job.path.empty() ? pins[3] : theirs;
  const auto mine_view = mine.volume->Read(), theirs_view = theirs.volume->Read();
  const auto base_view = job.path.empty() ? base.volume->Read() : nullptr;
  MergeSides sides(
      {job.path.empty() ? base_view.get() : theirs_view.get(), mine_view.get(), theirs_view.get()});
  for (Side side : {kMine, kTheirs}) {
    Result<uint64_t> visited =
        catalog_->Diff(base, side == kMine ? mine : theirs,
                       [&](cow::Key key, const std::string_view* x, const std::string_view* y) {
                         return sides.Note(side, key, x, y);
                       });
    if (!visited) return Failed(visited.error(), "comparing");
  }
  MergePlan plan(sides, job.options.on_conflict);
  PathChooser chooser(sides, branch.volume->hash_key(), branch.row.next_ino);
  if (!job.path.empty()) PRISM_TRY(chooser.Choose(job.path));
  const PathChoice& choice = chooser.choice();
  const Status made = job.path.empty() ? plan.Make(report) : plan.MakeFor(choice, report);
  if (!made) return MergeFailed(made.error(), job.mine, job.theirs);
  const bool undecided = report.conflict_count > 0 && job.options.on_conflict == OnConflict::kStop;
  if (job.options.dry_run || undecided) return {};
  MergeApply apply(sides, plan, *branch.volume);
  apply.Reserve(choice.copies.size());
  if (Status applied = apply.Run(); !applied)
    return MergeFailed(applied.error(), job.mine, job.theirs);
  report.done = true;
  return {};
}

Outcome<MergeReport> HostImpl::TryMerge(const MergeJob& job, bool frozen) {
  MergeReport report;
  report.volume = job.target;
  PRISM_ASSIGN(const clone::CatalogEntry target, catalog_->Find(job.target));
  if (target.row.snapshot_of != 0)
    return Explain(Err::kInvalid, "\"{}\" is a snapshot: it does not change", job.target);
  if (target.row.sealed)
    return Explain(Err::kReadOnly, "\"{}\" is sealed: it does not change", job.target);
  for (const std::string& side : {job.mine, job.theirs}) {
    PRISM_ASSIGN(const clone::CatalogEntry entry, catalog_->Find(side));
    if (entry.row.composition.composed())
      return Explain(
          Err::kNotSupported,
          "\"{}\" is composed: such volumes cannot be rebased or merged. Compose it anew "
          "from the newer sources",
          side);
  }
  PRISM_ASSIGN(const std::string label, LabelFor(job));
  // A core even where nobody works with the volume: one that came up meanwhile would not be told.
  std::shared_ptr<VolumeCore> core = CoreOf(target.volume);
  DataGate gate;
  std::unique_lock<FairSharedMutex> writers;
  if (frozen) {
    PRISM_ASSIGN(gate, GateOf(target.row.id));
    writers = target.volume->HoldWriters();
  }
  PRISM_ASSIGN(std::vector<clone::CatalogEntry> pinned, PinSides(job, frozen, target.row.id));
  HiddenVolumes pins(*catalog_, std::move(pinned));
  const bool into_theirs = job.target == job.theirs;
  if (job.path.empty()) {
    PRISM_ASSIGN(clone::CatalogEntry base, PinBase(job, pins, report.from));
    pins.Add(base);
    // The target may have all that the other has changed already.
    report.done = pins[into_theirs ? 0 : 1].row.past.back() == base.row.past.back();
    if (report.done) return report;
  }
  PRISM_TRY(MakeBranch(job, pins, report));
  if (!report.done) return report;
  if (!frozen) {
    PRISM_ASSIGN(gate, GateOf(target.row.id));
  }
  // Merged into itself a volume goes on; rebased, it begins anew with what it brings along.
  const Result<int64_t> own_bytes =
      BytesBrought(*catalog_, pins[1], pins[2], into_theirs ? target.row.own_from : 0);
  if (!own_bytes) return Failed(own_bytes.error(), "comparing");
  PRISM_TRY(catalog_->Replace(pins[2], pins[into_theirs ? 1 : 0], target.row.id, label, *own_bytes,
                              job.request));
  if (frozen) writers.unlock();
  report.kept = job.target + "@" + label;
  if (Status replaced = core->TreeReplaced(); !replaced)
    spdlog::error("volume {}: what its clients hold is not known after the {} ({})", target.row.id,
                  job.verb, NameOf(replaced.error()));
  return report;
}

Outcome<std::vector<MergeReport>> HostImpl::Rebase(const std::vector<std::string>& names,
                                                   std::string_view onto,
                                                   const MergeOptions& options,
                                                   std::string_view request_key) {
  if (names.empty()) return Explain(Err::kInvalid, "name at least one volume");
  std::vector<MergeJob> jobs;
  std::set<std::string_view> seen;
  for (const std::string& name : names) {
    if (name == onto || !seen.insert(name).second)
      return Explain(Err::kInvalid, "\"{}\" is named twice", name);
    PRISM_ASSIGN(const clone::CatalogEntry entry, catalog_->Find(name));
    PRISM_ASSIGN(clone::Request request,
                 NameMerge(request_key, "rebase", entry.row.id, {std::string(onto)}, options));
    jobs.push_back({"rebase", name, std::string(onto), name, options, std::move(request)});
  }
  std::vector<MergeReport> reports;
  // Several are done where all can be. What is found only when it is done, because somebody has
  // written meanwhile, concerns that one alone.
  if (jobs.size() > 1 && options.on_conflict == OnConflict::kStop && !options.dry_run) {
    bool conflict = false;
    for (MergeJob job : jobs) {
      PRISM_ASSIGN(const auto done, catalog_->FindDone(job.request));
      if (done) continue;
      job.options.dry_run = true;
      PRISM_ASSIGN(MergeReport report, RunMerge(job));
      conflict = conflict || report.conflict_count > 0;
      reports.push_back(std::move(report));
    }
    if (conflict) return reports;
    reports.clear();
  }
  for (const MergeJob& job : jobs) {
    PRISM_ASSIGN(MergeReport report, RunMerge(job));
    reports.push_back(std::move(report));
  }
  return reports;
}

Outcome<MergeReport> HostImpl::Merge(std::string_view child, std::string_view into,
                                     const MergeOptions& options, std::string_view request_key) {
  if (child == into) return Explain(Err::kInvalid, "\"{}\" is named twice", child);
  PRISM_ASSIGN(const clone::CatalogEntry target, catalog_->Find(into));
  PRISM_ASSIGN(clone::Request request,
               NameMerge(request_key, "merge", target.row.id, {std::string(child)}, options));
  return RunMerge({"merge", std::string(child), std::string(into), std::string(into), options,
                   std::move(request)});
}

Outcome<MergeReport> HostImpl::RollbackPath(std::string_view snapshot, std::string_view path,
                                            std::string_view request_key) {
  PRISM_ASSIGN(const clone::SnapshotName name, clone::ParseSnapshotName(snapshot));
  PRISM_ASSIGN(const clone::CatalogEntry target, catalog_->Find(name.volume));
  if (path.empty()) return Explain(Err::kInvalid, "a path begins with '/', the volume's root");
  PRISM_ASSIGN(clone::Request request, NameMerge(request_key, "rollback-path", target.row.id,
                                                 {std::string(snapshot), std::string(path)}, {}));
  return RunMerge({"rollback",
                   std::string(snapshot),
                   target.row.name,
                   target.row.name,
                   {},
                   std::move(request),
                   std::string(path)});
}

}  // namespace prism::fs
