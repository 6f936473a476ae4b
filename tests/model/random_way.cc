#include "tests/model/random_way.h"

#include <algorithm>

namespace prism::model {
namespace {

constexpr uint64_t kFar = uint64_t{1} << 40;  // offsets that all can say
constexpr size_t kXattrMost = 1000;

void RestrainName(std::string& name) {
  const bool plain = !name.empty() && name[0] != '.' && name.find('/') == name.npos &&
                     name.find('\0') == name.npos;
  if (!plain) name = "n0";
}

void RestrainTime(std::optional<fs::Timespec>& time) {
  if (time) time->sec = std::abs(time->sec);
}

void RestrainChanges(fs::FileType type, fs::SetAttr& changes) {
  changes.kill_privileges = false;
  if (type != fs::FileType::kRegular) changes.size.reset();
  if (changes.size) *changes.size %= kFar;
  // Through a mount these are two calls, of which the first takes set-id bits away.
  if (changes.uid || changes.gid) changes.mode.reset();
  if (type == fs::FileType::kSymlink) changes.mode.reset();
  RestrainTime(changes.atime);
  RestrainTime(changes.mtime);
}

bool NamesSomething(const fs::SetAttr& changes) {
  return changes.mode || changes.uid || changes.gid || changes.size || changes.atime ||
         changes.mtime || changes.atime_now || changes.mtime_now;
}

bool RestrainXattr(fs::FileType type, Operation& op) {
  const bool holds = type == fs::FileType::kRegular || type == fs::FileType::kDirectory;
  if (!holds || !op.name.starts_with("user.x") || op.name.size() > 20) return false;
  if (op.data.size() > kXattrMost) op.data.resize(kXattrMost);
  return op.flags < 3;
}

// Of data, in which only regular files are alike.
bool RestrainData(Way way, fs::FileType target, fs::FileType other, Operation& op) {
  if (target != fs::FileType::kRegular) return false;
  op.offset %= kFar;
  op.other_offset %= kFar;
  switch (op.kind) {
    case OpKind::kWrite:
      if (op.data.empty()) return false;
      op.append = op.append && way == Way::kMount;
      return true;
    case OpKind::kRead:
      return op.length > 0;
    case OpKind::kFallocate:
      return way == Way::kMount && op.length > 0;
    case OpKind::kSeek:
      return way == Way::kMount;
    case OpKind::kCopyRange:
      return way == Way::kMount && other == fs::FileType::kRegular && op.target != op.other;
    default:
      return true;
  }
}

}  // namespace

bool Restrain(Way way, fs::FileType target, fs::FileType other, Operation& op) {
  if (way == Way::kContract) return true;
  op.uid = op.gid = 0;
  op.groups.clear();
  op.check_permission = true;
  op.kill_privileges = false;
  op.with_attr = true;
  switch (op.kind) {
    case OpKind::kCreate:
      op.exclusivity = fs::Exclusivity::kGuarded;
      op.changes = {};
      if (op.type == fs::FileType::kDirectory) op.mode &= 01777;  // mkdir(2)
      break;
    case OpKind::kRename:
      if (way == Way::kNfs) op.flags = 0;
      break;
    case OpKind::kSetattr:
      RestrainChanges(target, op.changes);
      return NamesSomething(op.changes);
    case OpKind::kGetxattr:
    case OpKind::kSetxattr:
    case OpKind::kRemovexattr:
      return way == Way::kMount && RestrainXattr(target, op);
    case OpKind::kListxattr:
      return way == Way::kMount;
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFallocate:
    case OpKind::kSeek:
    case OpKind::kCopyRange:
    case OpKind::kFsync:
      return RestrainData(way, target, other, op);
    case OpKind::kAccess:
    case OpKind::kRelease:  // a kernel releases when it likes to
    case OpKind::kStatfs:
      return false;
    default:
      break;
  }
  RestrainName(op.name);
  RestrainName(op.other_name);
  return true;
}

}  // namespace prism::model
