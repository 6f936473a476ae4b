#include "tests/crash/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "fs/base/check.h"

namespace prism::crash {
namespace {

// Follows one file from what is known to be on disk through everything that may be.
class BodyChecker {
 public:
  explicit BodyChecker(const Content& found) : found_(found) {}

  bool started() const { return started_; }
  void Start(const Content& content) {
    started_ = true;
    size_min_ = size_max_ = content.size();
    for (const auto* pieces : {&found_.pieces(), &content.pieces()})
      for (const auto& [number, piece] : *pieces) unexplained_.insert(number);
    Explain(content);
  }
  void Offer(const Content& content) {
    size_min_ = std::min(size_min_, content.size());
    size_max_ = std::max(size_max_, content.size());
    Explain(content);
    ++versions_;
  }
  std::string Problem() const {
    if (!started_) return "was never written";
    if (found_.size() < size_min_ || found_.size() > size_max_)
      return fmt::format("size {}, expected {} to {}", found_.size(), size_min_, size_max_);
    if (unexplained_.empty()) return {};
    uint64_t first = *unexplained_.begin();
    return fmt::format("{} pieces of 4 KiB are neither old nor new ({} versions), first at {}{}",
                       unexplained_.size(), versions_, first * kPieceBytes,
                       found_.pieces().contains(first) ? "" : ", which is zeros");
  }

 private:
  void Explain(const Content& content) {
    std::erase_if(unexplained_,
                  [&](uint64_t n) { return content.PieceEquals(found_, n, found_.size()); });
  }

  const Content& found_;
  bool started_ = false;
  uint64_t size_min_ = 0;
  uint64_t size_max_ = 0;
  uint64_t versions_ = 1;
  std::set<uint64_t> unexplained_;
};

const Realm kNothing;

bool IsCut(const Op& op) {
  return op.kind == OpKind::kVolumeClone || op.kind == OpKind::kVolumeSnapshot;
}

// It is that volume, or a snapshot of it.
bool BelongsTo(const std::string& name, const std::string& volume) {
  return name == volume || name.starts_with(volume + "@");
}

std::string RealmName(uint32_t thread) { return fmt::format("t{}", thread); }

}  // namespace

Oracle::Oracle(const Store& initial, const Script& script, std::span<const Event> events, End end)
    : initial_(initial), script_(script) {
  size_t threads = script.size();
  begun_.resize(threads);
  returned_.resize(threads);
  at_begin_.resize(threads, std::vector<uint32_t>(threads));
  metadata_min_.resize(threads);
  data_min_.resize(threads);
  fsyncs_.resize(threads);
  ReadEvents(events);
  if (end == End::kKilled) metadata_min_ = returned_;
  for (uint32_t count : metadata_min_) acknowledged_ += count;
}

void Oracle::ReadEvents(std::span<const Event> events) {
  for (const Event& event : events) {
    switch (event.kind) {
      case Event::Kind::kBegin:
        begun_[event.thread] = event.op + 1;
        at_begin_[event.thread] = returned_;
        if (IsCut(script_[event.thread].ops[event.op])) cuts_[event.op].min = returned_;
        break;
      case Event::Kind::kEnd:
        if (event.error == 0) OnEnd(event);
        break;
      case Event::Kind::kClosed:
        metadata_min_ = data_min_ = returned_;
        break;
      default:
        break;
    }
  }
  for (auto& [op, cut] : cuts_)
    if (cut.max.empty()) cut.max = begun_;
}

void Oracle::OnEnd(const Event& event) {
  uint32_t thread = event.thread;
  returned_[thread] = event.op + 1;
  switch (script_[thread].ops[event.op].kind) {
    case OpKind::kFsync:
    case OpKind::kWriteSync:
      fsyncs_[thread].push_back(event.op);
      OnStable(thread, false);
      break;
    case OpKind::kSync:
    case OpKind::kFlush:
      OnStable(thread, true);
      break;
    case OpKind::kCheckpoint:
      OnStable(thread, false);
      break;
    case OpKind::kVolumeClone:
    case OpKind::kVolumeSnapshot:
      cuts_[event.op].max = begun_;
      break;
    default:
      break;
  }
}

// What had returned when the thread's present operation began is on disk, and that one itself.
void Oracle::OnStable(uint32_t thread, bool data_of_all) {
  const std::string& volume = script_[thread].volume;
  for (uint32_t other = 0; other < script_.size(); ++other) {
    if (!volume.empty() && script_[other].volume != volume) continue;
    uint32_t count = other == thread ? returned_[other] : at_begin_[thread][other];
    metadata_min_[other] = std::max(metadata_min_[other], count);
    if (data_of_all) data_min_[other] = std::max(data_min_[other], count);
  }
}

bool Oracle::IsBusy(const std::string& volume) const {
  return std::any_of(script_.begin(), script_.end(),
                     [&](const ThreadScript& thread) { return thread.volume == volume; });
}

Oracle::Window Oracle::LiveWindow(uint32_t thread) const {
  return {metadata_min_[thread], data_min_[thread], begun_[thread], true};
}

Oracle::Volumes Oracle::ExpectVolumes(bool with_pending) const {
  Volumes volumes;
  for (const auto& [name, volume] : initial_) {
    Expected& expected = volumes[name];
    expected.origin = name;
    if (!IsBusy(name)) continue;
    for (uint32_t t = 0; t < script_.size(); ++t) expected.windows.push_back(LiveWindow(t));
  }
  if (script_.empty() || !script_.back().volume.empty()) return volumes;
  uint32_t thread = static_cast<uint32_t>(script_.size() - 1);
  uint32_t count = with_pending ? begun_[thread] : returned_[thread];
  for (uint32_t i = 0; i < count; ++i) {
    const Op& op = script_[thread].ops[i];
    switch (op.kind) {
      case OpKind::kVolumeCreate:
        volumes[op.path] = {};
        break;
      case OpKind::kVolumeClone:
      case OpKind::kVolumeSnapshot: {
        Expected clone = volumes.at(op.path);
        const Cut& cut = cuts_.at(i);
        for (uint32_t t = 0; t < clone.windows.size(); ++t)
          clone.windows[t] = {cut.min[t], cut.min[t], cut.max[t], false};
        volumes[op.other] = std::move(clone);
        break;
      }
      case OpKind::kVolumeRollback:
        volumes[op.path.substr(0, op.path.find('@'))] = volumes.at(op.path);
        break;
      case OpKind::kVolumeDestroy:
        std::erase_if(volumes, [&](const auto& item) { return BelongsTo(item.first, op.path); });
        break;
      case OpKind::kVolumeRename: {
        Volumes renamed;
        for (auto& [name, expected] : volumes)
          renamed[BelongsTo(name, op.path) ? op.other + name.substr(op.path.size()) : name] =
              expected;
        volumes = std::move(renamed);
        break;
      }
      default:
        break;
    }
  }
  return volumes;
}

std::vector<std::string> Oracle::Check(const Store& found) {
  problems_.clear();
  auto same_names = [&](const Volumes& volumes) {
    return std::equal(volumes.begin(), volumes.end(), found.begin(), found.end(),
                      [](auto& a, auto& b) { return a.first == b.first; });
  };
  Volumes volumes = ExpectVolumes(false);
  if (!same_names(volumes)) {
    Volumes with_pending = ExpectVolumes(true);
    if (same_names(with_pending)) {
      volumes = std::move(with_pending);
    } else {
      std::string message = "volumes expected:";
      for (const auto& [name, expected] : volumes) message += " " + name;
      message += "; found:";
      for (const auto& [name, volume] : found) message += " " + name;
      problems_.push_back(message);
    }
  }
  for (const auto& [name, expected] : volumes) {
    auto it = found.find(name);
    if (it != found.end()) CheckVolume(name, expected, it->second);
  }
  return problems_;
}

void Oracle::CheckVolume(const std::string& name, const Expected& expected, const Volume& found) {
  static const Volume kEmpty;
  const Volume& initial = expected.origin.empty() ? kEmpty : initial_.at(expected.origin);
  std::set<std::string> realms;
  for (const auto& [realm, content] : initial) realms.insert(realm);
  for (const auto& [realm, content] : found) realms.insert(realm);
  for (uint32_t t = 0; t < expected.windows.size(); ++t) {
    if (script_[t].volume != expected.origin) continue;
    realms.erase(RealmName(t));
    auto it = found.find(RealmName(t));
    CheckThread(name, t, expected.windows[t], it == found.end() ? kNothing : it->second);
  }
  for (const std::string& realm : realms) {
    auto before = initial.find(realm);
    auto after = found.find(realm);
    const Realm& old = before == initial.end() ? kNothing : before->second;
    const Realm& now = after == found.end() ? kNothing : after->second;
    std::string problem = CompareMetadata(old, now);
    if (problem.empty()) {
      for (const auto& [path, id] : old.names) {
        BodyChecker checker(now.objects.at(now.names.at(path)).content);
        checker.Start(old.objects.at(id).content);
        if (problem = checker.Problem(); !problem.empty()) {
          problem = path + ": " + problem;
          break;
        }
      }
    }
    if (!problem.empty())
      problems_.push_back(
          fmt::format("volume {}: nobody touched {}, but: {}", name, realm, problem));
  }
}

const Realm& Oracle::InitialRealm(uint32_t thread) const {
  const Volume& volume = initial_.at(script_[thread].volume);
  auto it = volume.find(RealmName(thread));
  return it == volume.end() ? kNothing : it->second;
}

void Oracle::CheckThread(const std::string& name, uint32_t thread, const Window& window,
                         const Realm& found) {
  const std::vector<Op>& ops = script_[thread].ops;
  Realm realm = InitialRealm(thread);
  std::string first_problem, problem, data_problem;
  std::map<std::string, ObjectId> tried;
  bool any = false;
  for (uint32_t n = 0; n <= window.max; ++n) {
    if (n >= window.metadata_min) {
      problem = CompareMetadata(realm, found);
      if (n == window.metadata_min) first_problem = problem;
      if (problem.empty() && (!any || tried != realm.names)) {
        any = true;
        tried = realm.names;
        data_problem = CheckData(thread, window, tried, found);
        if (data_problem.empty()) return;
      }
    }
    if (n < window.max) realm.Apply(ops[n]);
  }
  std::string message = fmt::format(
      "volume {}, thread {}: of its operations, {} had survived (data of all: {}), {} had begun: ",
      name, thread, window.metadata_min, window.data_min, window.max);
  if (any)
    message += data_problem;
  else
    message += fmt::format("no prefix fits; after {}: {}; after {}: {}", window.metadata_min,
                           first_problem, window.max, problem);
  for (uint32_t n = window.metadata_min < 4 ? 0 : window.metadata_min - 4;
       n < window.max && n < window.metadata_min + 24; ++n)
    message += fmt::format("\n    op {}: {}", n, Describe(ops[n]));
  problems_.push_back(message);
}

// Files that were synced alone, and after how many operations.
std::map<ObjectId, uint32_t> Oracle::StableFiles(uint32_t thread, const Window& window) const {
  std::map<ObjectId, uint32_t> stable;
  if (!window.counts_fsyncs) return stable;
  Realm realm = InitialRealm(thread);
  uint32_t n = 0;
  for (uint32_t op : fsyncs_[thread]) {
    for (; n < op; ++n) realm.Apply(script_[thread].ops[n]);
    auto it = realm.names.find(script_[thread].ops[op].path);
    PRISM_CHECK(it != realm.names.end());
    stable[it->second] = op + 1;
  }
  return stable;
}

std::string Oracle::CheckData(uint32_t thread, const Window& window,
                              const std::map<std::string, ObjectId>& names,
                              const Realm& found) const {
  std::map<ObjectId, uint32_t> stable = StableFiles(thread, window);
  std::map<ObjectId, BodyChecker> checkers;
  std::map<ObjectId, std::string> paths, history;
  for (const auto& [path, id] : names) {
    const Object& object = found.objects.at(found.names.at(path));
    if (object.type != fs::FileType::kRegular) continue;
    checkers.emplace(id, object.content);
    paths[id] = path;
  }
  Realm realm = InitialRealm(thread);
  for (uint32_t n = 0; n <= window.max; ++n) {
    for (auto& [id, checker] : checkers) {
      if (checker.started() || n < std::max(window.data_min, stable[id])) continue;
      auto object = realm.objects.find(id);
      if (object != realm.objects.end()) checker.Start(object->second.content);
    }
    if (n == window.max) break;
    ObjectId changed = realm.Apply(script_[thread].ops[n]);
    if (changed != 0)
      history[changed] +=
          fmt::format("\n    changed by {}: {}", n, Describe(script_[thread].ops[n]));
    auto checker = checkers.find(changed);
    if (checker != checkers.end() && checker->second.started())
      checker->second.Offer(realm.objects.at(changed).content);
  }
  for (const auto& [id, checker] : checkers) {
    std::string problem = checker.Problem();
    if (!problem.empty())
      return fmt::format("{} (synced after {}): {}{}", paths.at(id),
                         std::max(window.data_min, stable[id]), problem, history[id]);
  }
  return {};
}

}  // namespace prism::crash
