#include "tests/model/node.h"

#include <ctime>

namespace prism::model {
namespace {

constexpr uint32_t kSetUid = 04000;
constexpr uint32_t kSetGid = 02000;
constexpr uint32_t kGroupExecute = 0010;

}  // namespace

fs::Timespec Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<uint32_t>(now.tv_nsec)};
}

fs::Attr AttrOf(const Node& node) {
  fs::Attr attr;
  attr.ino = node.ino;
  attr.type = node.type;
  attr.mode = node.mode;
  attr.nlink = node.nlink;
  attr.uid = node.uid;
  attr.gid = node.gid;
  attr.size = node.size;
  if (node.is_directory()) attr.size = node.entries.size() * 32;
  if (node.type == fs::FileType::kSymlink) attr.size = node.target.size();
  attr.used_bytes = node.units.size() * kUnitBytes;
  attr.rdev_major = node.rdev_major;
  attr.rdev_minor = node.rdev_minor;
  attr.atime = node.atime;
  attr.mtime = node.mtime;
  attr.ctime = node.ctime;
  attr.btime = node.btime;
  attr.change = node.change;
  return attr;
}

void MakeRoot(Volume& volume) {
  Node root;
  root.ino = root.parent = kRootInode;
  root.type = fs::FileType::kDirectory;
  root.mode = 0755;
  root.nlink = 2;
  root.atime = root.mtime = root.ctime = root.btime = Now();
  volume.nodes[kRootInode] = root;
  volume.created_sec = root.btime.sec;
}

uint32_t Granted(const fs::Caller& caller, const Node& node, uint32_t want) {
  if (caller.uid == 0) {
    bool executable = node.is_directory() || (node.mode & 0111) != 0;
    return executable ? want : want & ~kMayExecute;
  }
  return GrantedBy(caller, node.uid, node.gid, node.mode, node.access_acl, want);
}

Status Check(const fs::Caller& caller, const Node& node, uint32_t want) {
  if (!caller.check_permission || Granted(caller, node, want) == want) return {};
  return Fail(Err::kAccess);
}

Status CheckData(const fs::Caller& caller, const Node& node, uint32_t want) {
  if (IsOwner(caller, node)) return {};
  if (want == kMayRead && Granted(caller, node, kMayExecute) != 0) return {};
  return Check(caller, node, want);
}

bool IsOwner(const fs::Caller& caller, const Node& node) {
  return !caller.check_permission || caller.uid == 0 || caller.uid == node.uid;
}

void Touch(Node& node) {
  node.ctime = Now();
  ++node.change;
}

void TouchData(Node& node) {
  Touch(node);
  node.mtime = node.ctime;
}

void TouchAccess(Node& node) {
  fs::Timespec now = Now();
  constexpr int64_t kDaySec = 24 * 60 * 60;
  bool old =
      node.atime <= node.mtime || node.atime <= node.ctime || now.sec - node.atime.sec >= kDaySec;
  if (old) node.atime = now;
}

void KillPrivileges(Node& node) {
  if (node.is_directory()) return;
  node.mode &= ~kSetUid;
  if ((node.mode & kGroupExecute) != 0) node.mode &= ~kSetGid;
  node.xattrs.erase("security.capability");
}

Status CheckSetAttr(const fs::Caller& caller, const Node& node, const fs::SetAttr& changes) {
  if (changes.if_ctime && *changes.if_ctime != node.ctime) return Fail(Err::kNotSync);
  if (changes.size) {
    if (node.is_directory()) return Fail(Err::kIsDirectory);
    if (node.type != fs::FileType::kRegular) return Fail(Err::kInvalid);
    if (*changes.size > fs::kFileSizeMax) return Fail(Err::kTooLarge);
  }
  for (const auto& time : {changes.atime, changes.mtime})
    if (time && time->nsec >= 1'000'000'000) return Fail(Err::kInvalid);
  if (!caller.check_permission || caller.uid == 0) return {};

  if (changes.size) PRISM_TRY(CheckData(caller, node, kMayWrite));
  bool owner = caller.uid == node.uid;
  if (changes.uid && !(owner && *changes.uid == node.uid)) return Fail(Err::kPerm);
  if (changes.gid && !(owner && (*changes.gid == node.gid || InGroup(caller, *changes.gid))))
    return Fail(Err::kPerm);
  if (changes.mode && !owner) return Fail(Err::kPerm);
  if ((changes.atime || changes.mtime) && !owner) return Fail(Err::kPerm);
  if ((changes.atime_now || changes.mtime_now) && !owner) PRISM_TRY(Check(caller, node, kMayWrite));
  return {};
}

fs::SetAttr Effective(const fs::Caller& caller, const Node& node, const fs::SetAttr& changes) {
  fs::SetAttr result = changes;
  if (!caller.check_permission) return result;
  if (changes.uid || changes.gid) result.kill_privileges = true;
  if (changes.size && caller.uid != 0) result.kill_privileges = true;
  uint32_t gid = changes.gid.value_or(node.gid);
  if (changes.mode && caller.uid != 0 && !InGroup(caller, gid)) *result.mode &= ~kSetGid;
  return result;
}

void ApplySetAttr(Node& node, const fs::SetAttr& changes) {
  bool anything = changes.mode || changes.uid || changes.gid || changes.size || changes.atime ||
                  changes.mtime || changes.atime_now || changes.mtime_now ||
                  changes.kill_privileges;
  if (!anything) return;
  Touch(node);
  if (changes.mode && node.type != fs::FileType::kSymlink) {
    node.mode = *changes.mode & 07777;
    if (!node.access_acl.empty()) ApplyModeToAcl(node.mode, node.access_acl);
  }
  if (changes.uid) node.uid = *changes.uid;
  if (changes.gid) node.gid = *changes.gid;
  if (changes.kill_privileges) KillPrivileges(node);
  if (changes.size) {
    Resize(node, *changes.size);
    node.mtime = node.ctime;
  }
  if (changes.atime_now) node.atime = node.ctime;
  if (changes.mtime_now) node.mtime = node.ctime;
  if (changes.atime) node.atime = *changes.atime;
  if (changes.mtime) node.mtime = *changes.mtime;
}

}  // namespace prism::model
