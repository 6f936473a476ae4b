#include "tests/crash/script.h"

#include <fmt/format.h>

#include <algorithm>

namespace prism::crash {
namespace {

constexpr size_t kNamesMax = 60;  // of one realm

bool IsRegular(const Object& object) { return object.type == fs::FileType::kRegular; }
bool IsDirectory(const Object& object) { return object.type == fs::FileType::kDirectory; }
bool IsAny(const Object&) { return true; }
bool IsNoDirectory(const Object& object) { return !IsDirectory(object); }

}  // namespace

ScriptMaker::ScriptMaker(Realm realm, std::string top, const ScriptOptions& options, uint64_t seed)
    : realm_(std::move(realm)), top_(std::move(top)), options_(options), rng_(seed) {}

std::vector<Op> ScriptMaker::Make() {
  if (!realm_.Find(top_)) Emit({.kind = OpKind::kMkdir, .path = top_, .mode = 0755});
  while (ops_.size() < options_.ops_per_thread) Step();
  return std::move(ops_);
}

void ScriptMaker::Emit(Op op) {
  realm_.Apply(op);
  ops_.push_back(std::move(op));
}

std::string ScriptMaker::Pick(bool (*accept)(const Object&)) {
  std::vector<const std::string*> candidates;
  for (const auto& [path, id] : realm_.names)
    if (path != top_ && accept(realm_.objects.at(id))) candidates.push_back(&path);
  return candidates.empty() ? std::string() : *candidates[Random(candidates.size())];
}

std::string ScriptMaker::NewName() {
  std::string directory = Random(3) == 0 ? Pick(IsDirectory) : std::string();
  if (directory.empty() || directory.size() > 100) directory = top_;
  std::string name = fmt::format("n{}", Random(1000000));
  if (Random(20) == 0) name.resize(255, 'x');
  std::string path = directory + "/" + name;
  return realm_.Find(path) ? std::string() : path;
}

uint64_t ScriptMaker::Offset(uint64_t size) {
  switch (Random(8)) {
    case 0:
      return size;  // appends
    case 1:
      return Random(options_.file_bytes_max);
    case 2:
      if (options_.sparse_giants && Random(8) == 0) return (uint64_t{1} << 41) + Random(1000);
      [[fallthrough]];
    default:
      return Random(size / kPieceBytes + 1) * kPieceBytes;
  }
}

void ScriptMaker::Step() {
  uint32_t dice = static_cast<uint32_t>(Random(100));
  std::string file = Pick(IsRegular);
  if (dice < 30 || file.empty()) return StepNames(dice);
  if (dice < 62) return StepData(file);
  if (dice < 72) return StepAttributes(Random(3) == 0 ? Pick(IsAny) : file);
  if (dice < 80) return ReplaceAfterFsync();
  if (dice < 97) return Emit({.kind = OpKind::kFsync, .path = Random(6) == 0 ? Pick(IsAny) : file});
  if (dice < 99) return Emit({.kind = OpKind::kSync});
  Emit({.kind = OpKind::kPause, .length = Random(20)});
}

void ScriptMaker::StepNames(uint32_t dice) {
  std::string name = NewName();
  bool full = realm_.names.size() >= kNamesMax;
  if (dice % 10 < 5 && !name.empty() && !full) {
    uint64_t length = Random(2) == 0 ? 0 : Random(Random(2) == 0 ? 3000 : 65536);
    uint32_t mode = 0600 | static_cast<uint32_t>(Random(64));
    switch (Random(10)) {
      case 0:
      case 1:
        return Emit({.kind = OpKind::kMkdir, .path = name, .mode = 0700 | mode});
      case 2:
        return Emit({.kind = OpKind::kSymlink,
                     .path = name,
                     .other = fmt::format("to/{}", Random(1000)),
                     .mode = 0777});
      case 3:
        return Emit({.kind = OpKind::kFifo, .path = name, .mode = mode});
      default:
        return Emit(
            {.kind = OpKind::kCreate, .path = name, .length = length, .tag = Tag(), .mode = mode});
    }
  }
  if (dice % 10 < 7) return RenameSomething(static_cast<uint32_t>(Random(4)));
  std::string victim = Pick(IsNoDirectory);
  if (dice % 10 == 7 && !name.empty() && !victim.empty() && !full)
    return Emit({.kind = OpKind::kLink, .path = victim, .other = name});
  std::string directory = Pick(IsDirectory);
  if (!directory.empty() && realm_.IsEmptyDirectory(directory))
    return Emit({.kind = OpKind::kRmdir, .path = directory});
  if (!victim.empty()) Emit({.kind = OpKind::kUnlink, .path = victim});
}

void ScriptMaker::RenameSomething(uint32_t flags_dice) {
  std::string from = Pick(IsAny);
  if (from.empty()) return;
  if (flags_dice == 0) {
    std::string over = Pick(IsNoDirectory);
    if (!over.empty() && over != from && !IsDirectory(*realm_.Find(from)))
      return Emit({.kind = OpKind::kRename, .path = from, .other = over});
  }
  if (flags_dice == 1) {
    std::string with = Pick(IsAny);
    bool nested = with.rfind(from + "/", 0) == 0 || from.rfind(with + "/", 0) == 0;
    if (!with.empty() && with != from && !nested)
      return Emit({.kind = OpKind::kExchange, .path = from, .other = with});
  }
  std::string to = NewName();
  if (to.empty() || to.rfind(from + "/", 0) == 0) return;
  Emit({.kind = OpKind::kRename, .path = from, .other = to});
}

// How careful programs save: the old content or the new, never another.
void ScriptMaker::ReplaceAfterFsync() {
  std::string temporary = NewName();
  std::string target = Pick(IsRegular);
  if (temporary.empty() || target.empty()) return;
  Emit({.kind = OpKind::kCreate, .path = temporary, .mode = 0644});
  Emit({.kind = OpKind::kWrite, .path = temporary, .length = 1 + Random(200000), .tag = Tag()});
  Emit({.kind = OpKind::kFsync, .path = temporary});
  Emit({.kind = OpKind::kRename, .path = temporary, .other = target});
  if (Random(2) == 0) Emit({.kind = OpKind::kFsync, .path = target});
}

void ScriptMaker::StepData(const std::string& path) {
  uint64_t size = realm_.Find(path)->content.size();
  Op op{.path = path, .offset = Offset(size), .tag = Tag()};
  switch (Random(12)) {
    case 0:
      op.kind = OpKind::kTruncate;
      op.offset = Random(3) == 0 ? 0 : Random(size + kPieceBytes);
      if (op.offset > options_.file_bytes_max) op.offset = Random(options_.file_bytes_max);
      return Emit(std::move(op));
    case 1:
    case 2:
      op.kind = Random(2) == 0 ? OpKind::kPunch : OpKind::kZeroRange;
      op.length = 1 + Random(200000);
      return Emit(std::move(op));
    case 3: {
      std::string target = Pick(IsRegular);
      if (target == path || size == 0 || realm_.names.at(target) == realm_.names.at(path)) return;
      op.kind = OpKind::kCopyRange;
      op.other = target;
      op.offset = Random(std::min(size, options_.file_bytes_max) / kPieceBytes + 1) * kPieceBytes;
      op.length = 1 + Random(300000);
      op.tag = Random(options_.file_bytes_max / kPieceBytes) * kPieceBytes;
      return Emit(std::move(op));
    }
    case 4:
      op.kind = OpKind::kWriteSync;
      break;
    default:
      op.kind = OpKind::kWrite;
  }
  // 4 KiB pieces as a database has them, a few bytes, or much.
  uint64_t dice = Random(10);
  op.length = dice < 6 ? kPieceBytes : dice < 8 ? 1 + Random(5000) : 1 + Random(400000);
  Emit(std::move(op));
}

void ScriptMaker::StepAttributes(const std::string& path) {
  Op op{.path = path};
  const Object& object = *realm_.Find(path);
  switch (Random(5)) {
    case 0:
      op.kind = OpKind::kSetMode;
      op.mode = static_cast<uint32_t>(Random(01000));
      if (object.type == fs::FileType::kSymlink) return;
      break;
    case 1:
      op.kind = OpKind::kSetOwner;
      op.offset = Random(60000);
      op.length = Random(60000);
      break;
    case 2:
      op.kind = OpKind::kSetMtime;
      op.offset = Random(2000000000);
      op.mode = static_cast<uint32_t>(Random(1000000000));
      break;
    default:
      if (object.type == fs::FileType::kSymlink || object.type == fs::FileType::kFifo) return;
      op.kind = OpKind::kSetXattr;
      op.other = fmt::format("user.x{}", Random(4));
      if (object.xattrs.contains(op.other) && Random(3) == 0) {
        op.kind = OpKind::kRemoveXattr;
      } else {
        op.tag = Tag();
        op.length = Random(10) == 0 ? Random(20000) : Random(100);
      }
  }
  Emit(std::move(op));
}

namespace {

bool IsSnapshot(const std::string& name) { return name.find('@') != name.npos; }

// What happens to volumes that no thread works in, and clones of those that are worked in.
std::vector<Op> MakeVolumeOps(const Store& store, const std::set<std::string>& busy,
                              const ScriptOptions& options, std::mt19937_64& rng) {
  std::vector<Op> ops;
  std::vector<std::string> sources, idle, snapshots;
  for (const auto& [name, volume] : store) {
    sources.push_back(name);
    if (IsSnapshot(name))
      snapshots.push_back(name);
    else if (!busy.contains(name))
      idle.push_back(name);
  }
  size_t count = store.size();
  auto take_idle = [&] {
    size_t at = rng() % idle.size();
    std::string name = idle[at];
    idle.erase(idle.begin() + static_cast<std::ptrdiff_t>(at));
    auto goes = [&](const std::string& other) {
      return other == name || other.starts_with(name + "@");
    };
    std::erase_if(sources, goes);
    count -= std::erase_if(snapshots, goes);
    return name;
  };
  for (uint32_t i = 0; i < options.volume_ops; ++i) {
    std::string name = fmt::format("v{}", rng() % 1000000000);
    uint64_t dice = rng() % 14;
    if (count >= options.volumes_max && !idle.empty()) {
      ops.push_back({.kind = OpKind::kVolumeDestroy, .path = take_idle()});
      --count;
    } else if (dice < 6 && count < options.volumes_max) {
      ops.push_back(
          {.kind = OpKind::kVolumeClone, .path = sources[rng() % sources.size()], .other = name});
      idle.push_back(name);
      ++count;
    } else if (dice < 7 && count < options.volumes_max) {
      ops.push_back({.kind = OpKind::kVolumeCreate, .path = name});
      idle.push_back(name);
      ++count;
    } else if (dice < 8 && !idle.empty()) {
      ops.push_back({.kind = OpKind::kVolumeRename, .path = take_idle(), .other = name});
      idle.push_back(name);
    } else if (dice < 11 && count < options.volumes_max) {
      const std::string& source = sources[rng() % sources.size()];
      if (IsSnapshot(source)) continue;
      snapshots.push_back(source + "@" + name);
      ops.push_back({.kind = OpKind::kVolumeSnapshot, .path = source, .other = snapshots.back()});
      ++count;
    } else if (dice < 12 && !snapshots.empty()) {
      const std::string& snapshot = snapshots[rng() % snapshots.size()];
      if (busy.contains(snapshot.substr(0, snapshot.find('@')))) continue;
      ops.push_back({.kind = OpKind::kVolumeRollback, .path = snapshot});
    } else if (dice < 13) {
      ops.push_back({.kind = OpKind::kCheckpoint});
    } else {
      ops.push_back({.kind = OpKind::kFlush});
    }
    ops.push_back({.kind = OpKind::kPause, .length = rng() % 30});
  }
  return ops;
}

}  // namespace

Script MakeScript(const Store& store, const ScriptOptions& options) {
  std::mt19937_64 rng(options.seed);
  Script script;
  std::set<std::string> busy;
  for (uint32_t i = 0; i < options.threads; ++i) {
    auto volume = store.begin();
    for (uint64_t left = rng() % std::min<size_t>(store.size(), 3); left > 0; --left) ++volume;
    while (IsSnapshot(volume->first)) --volume;  // to what it is a snapshot of
    std::string top = fmt::format("t{}", i);
    auto realm = volume->second.find(top);
    ScriptMaker maker(realm == volume->second.end() ? Realm{} : realm->second, top, options, rng());
    script.push_back({volume->first, maker.Make()});
    busy.insert(volume->first);
  }
  if (options.volume_ops > 0) script.push_back({"", MakeVolumeOps(store, busy, options, rng)});
  return script;
}

}  // namespace prism::crash
