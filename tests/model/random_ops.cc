#include "tests/model/random_ops.h"

#include <fmt/format.h>

#include "tests/model/acl.h"

namespace prism::model {

uint64_t Random::Next() {
  uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

namespace {

struct Weight {
  OpKind kind;
  uint32_t weight;
};

constexpr Weight kWeights[] = {
    {OpKind::kCreate, 130},   {OpKind::kLink, 40},        {OpKind::kUnlink, 70},
    {OpKind::kRmdir, 25},     {OpKind::kRename, 80},      {OpKind::kLookup, 30},
    {OpKind::kReaddir, 25},   {OpKind::kGetattr, 15},     {OpKind::kSetattr, 80},
    {OpKind::kAccess, 15},    {OpKind::kReadlink, 8},     {OpKind::kRead, 60},
    {OpKind::kWrite, 150},    {OpKind::kFallocate, 50},   {OpKind::kSeek, 20},
    {OpKind::kCopyRange, 50}, {OpKind::kGetxattr, 20},    {OpKind::kSetxattr, 50},
    {OpKind::kListxattr, 8},  {OpKind::kRemovexattr, 20}, {OpKind::kFsync, 5},
    {OpKind::kSync, 2},       {OpKind::kStatfs, 8},       {OpKind::kRelease, 30},
};

OpKind DrawKind(Random& random) {
  uint32_t total = 0;
  for (const Weight& weight : kWeights) total += weight.weight;
  uint64_t left = random.Below(total);
  for (const Weight& weight : kWeights) {
    if (left < weight.weight) return weight.kind;
    left -= weight.weight;
  }
  return OpKind::kGetattr;
}

// Few names, so that they meet; now and then one at or over a limit.
std::string DrawName(Random& random) {
  if (random.OneIn(200)) return random.Pick<std::string>({"", ".", "..", "a/b", std::string(1, 0)});
  if (random.OneIn(100)) return std::string(254 + random.Below(3), 'L');
  return "n" + std::to_string(random.Below(12));
}

// Mostly small or near the edges of units and blocks; rarely far away.
uint64_t DrawOffset(Random& random) {
  switch (random.Below(10)) {
    case 0:
      return 0;
    case 1:
      return random.Below(40) * 4096;
    case 2:
      return (1 + random.Below(4)) * 65536 - random.Below(3);
    case 3:
      return random.OneIn(4) ? (uint64_t{1} << (33 + random.Below(26))) + random.Below(5000)
                             : random.Below(5000);
    case 4:
      return random.OneIn(10) ? fs::kFileSizeMax - random.Below(3) : random.Below(100);
    default:
      return random.Below(random.OneIn(2) ? 6000 : 300000);
  }
}

uint64_t DrawLength(Random& random) {
  switch (random.Below(8)) {
    case 0:
      return random.Below(3);
    case 1:
      return 4096 * (1 + random.Below(20));
    case 2:
      return 65536 * (1 + random.Below(2));
    case 3:
      return random.Below(200000);
    default:
      return random.Below(6000);
  }
}

// Never a zero, so that what is data can be told from what is a hole; often repeated, so that
// equal content is met again.
std::string DrawData(Random& random, uint64_t length) {
  std::string data(length, '\0');
  Random bytes(random.OneIn(3) ? random.Below(4) : random.Next());
  for (char& byte : data) byte = static_cast<char>(1 + bytes.Below(255));
  return data;
}

fs::Timespec DrawTime(Random& random) {  // far from the clock's
  return {static_cast<int64_t>(random.Below(2000000)) - 1000000,
          static_cast<uint32_t>(random.Below(1000000000))};
}

uint32_t DrawMode(Random& random) {
  uint32_t mode = random.Pick<uint32_t>({0644, 0755, 0777, 0700, 0660, 0444, 0007, 0070});
  if (random.OneIn(5)) mode = static_cast<uint32_t>(random.Below(010000));
  return mode;
}

fs::SetAttr DrawChanges(Random& random) {
  fs::SetAttr changes;
  if (random.OneIn(3)) changes.size = DrawOffset(random);
  if (random.OneIn(3)) changes.mode = DrawMode(random);
  if (random.OneIn(5)) changes.uid = static_cast<uint32_t>(random.Below(4));
  if (random.OneIn(5)) changes.gid = static_cast<uint32_t>(random.Below(4));
  if (random.OneIn(4)) changes.atime = DrawTime(random);
  if (random.OneIn(4)) changes.mtime = DrawTime(random);
  if (!changes.atime) changes.atime_now = random.OneIn(6);
  if (!changes.mtime) changes.mtime_now = random.OneIn(6);
  return changes;
}

std::string DrawAcl(Random& random) {
  if (random.OneIn(10)) return DrawData(random, random.Below(30));
  auto perm = [&] { return static_cast<uint16_t>(random.Below(8)); };
  Acl acl = {{AclTag::kUserObj, perm()}};
  bool named = random.OneIn(2);
  if (named) acl.push_back({AclTag::kUser, perm(), static_cast<uint32_t>(random.Below(4))});
  acl.push_back({AclTag::kGroupObj, perm()});
  if (named) acl.push_back({AclTag::kGroup, perm(), static_cast<uint32_t>(random.Below(4))});
  if (named) acl.push_back({AclTag::kMask, perm()});
  acl.push_back({AclTag::kOther, perm()});
  return EncodeAcl(acl);
}

std::string DrawXattrName(Random& random) {
  switch (random.Below(10)) {
    case 0:
      return "system.posix_acl_access";
    case 1:
      return "system.posix_acl_default";
    case 2:
      return "trusted.t" + std::to_string(random.Below(3));
    case 3:
      return random.OneIn(3) ? "security.capability" : "security.s";
    case 4:
      return random.OneIn(5) ? "user." + std::string(249 + random.Below(3), 'x') : "user.y";
    default:
      return "user.x" + std::to_string(random.Below(8));
  }
}

void DrawCaller(Random& random, Operation& op) {
  if (!random.OneIn(3)) {
    op.uid = op.gid = static_cast<uint32_t>(random.OneIn(3) ? random.Below(4) : 0);
    return;
  }
  op.check_permission = true;
  op.uid = static_cast<uint32_t>(random.Below(4));
  op.gid = static_cast<uint32_t>(random.Below(4));
  if (random.OneIn(2)) op.groups = {static_cast<uint32_t>(random.Below(4)), 7};
}

void DrawCreate(Random& random, Operation& op) {
  using fs::FileType;
  op.type = random.Pick<FileType>({FileType::kRegular, FileType::kRegular, FileType::kRegular,
                                   FileType::kRegular, FileType::kDirectory, FileType::kDirectory,
                                   FileType::kSymlink, FileType::kFifo, FileType::kCharDevice});
  op.umask = random.Pick<uint32_t>({0, 022, 077});
  op.exclusivity = static_cast<fs::Exclusivity>(random.OneIn(3) ? random.Below(3) : 0);
  if (op.type != FileType::kRegular) op.exclusivity = fs::Exclusivity::kGuarded;
  op.verifier = random.Next();
  if (op.type == FileType::kSymlink) op.data = DrawData(random, 1 + random.Below(300));
  if (op.type == FileType::kRegular && random.OneIn(3))
    op.data = DrawData(random, random.Below(random.OneIn(4) ? 65536 : 5000));
  if (random.OneIn(4)) op.changes = DrawChanges(random);
  if (op.type != FileType::kRegular) op.changes.size.reset();
}

void DrawTargets(Random& random, const Choices& choices, Operation& op) {
  switch (op.kind) {
    case OpKind::kCreate:
    case OpKind::kUnlink:
    case OpKind::kRmdir:
    case OpKind::kLookup:
    case OpKind::kReaddir:
      op.target = random.Pick(random.OneIn(60) ? choices.any : choices.directories);
      return;
    case OpKind::kRename:
      op.target = random.Pick(choices.directories);
      op.other = random.OneIn(2) ? op.target : random.Pick(choices.directories);
      return;
    case OpKind::kLink:
      op.target = random.Pick(choices.directories);
      op.other = random.Pick(choices.any);
      return;
    case OpKind::kRead:
    case OpKind::kWrite:
    case OpKind::kFallocate:
    case OpKind::kSeek:
    case OpKind::kCopyRange:
      op.target = random.Pick(random.OneIn(60) ? choices.any : choices.files);
      op.other = random.OneIn(3) ? op.target : random.Pick(choices.files);
      return;
    case OpKind::kRelease:
      op.target =
          random.Pick(choices.orphans.empty() || random.OneIn(10) ? choices.any : choices.orphans);
      return;
    default:
      op.target = random.Pick(choices.any);
  }
}

void DrawDetails(Random& random, Operation& op) {
  switch (op.kind) {
    case OpKind::kCreate:
      DrawCreate(random, op);
      break;
    case OpKind::kRename:
      op.flags = static_cast<uint32_t>(random.OneIn(3) ? random.Below(4) : 0);
      break;
    case OpKind::kSetattr:
      op.changes = DrawChanges(random);
      op.changes.kill_privileges = op.changes.size && random.OneIn(3);
      break;
    case OpKind::kWrite:
      op.data = DrawData(random, op.length);
      op.append = random.OneIn(6);
      break;
    case OpKind::kFallocate:
      op.flags = static_cast<uint32_t>(random.Below(5));
      break;
    case OpKind::kSeek:
      op.flags = static_cast<uint32_t>(random.Below(2));
      break;
    case OpKind::kGetxattr:
    case OpKind::kRemovexattr:
    case OpKind::kSetxattr:
      op.name = DrawXattrName(random);
      op.flags = static_cast<uint32_t>(random.OneIn(3) ? random.Below(3) : 0);
      op.data = op.name.starts_with("system.")
                    ? DrawAcl(random)
                    : DrawData(random, random.Below(random.OneIn(20) ? 70000 : 200));
      break;
    default:
      break;
  }
}

// Without this most removals and renames would meet nothing.
void DrawExisting(Random& random, const Choices& choices, Operation& op) {
  bool takes = op.kind == OpKind::kUnlink || op.kind == OpKind::kRmdir ||
               op.kind == OpKind::kRename || op.kind == OpKind::kLookup;
  if (!takes || choices.entries.empty() || random.OneIn(4)) return;
  for (int attempt = 0; attempt < 6; ++attempt) {
    const EntryHint& hint = random.Pick(choices.entries);
    op.target = hint.directory;
    op.name = hint.name;
    if (op.kind != OpKind::kUnlink && op.kind != OpKind::kRmdir) break;
    if (hint.is_directory == (op.kind == OpKind::kRmdir)) break;
  }
  if (op.kind == OpKind::kRename && random.OneIn(2)) {
    const EntryHint& hint = random.Pick(choices.entries);
    op.other = hint.directory;
    op.other_name = hint.name;
  }
}

}  // namespace

Operation Draw(Random& random, const Choices& choices) {
  Operation op;
  op.kind = DrawKind(random);
  DrawCaller(random, op);
  DrawTargets(random, choices, op);
  op.name = DrawName(random);
  op.other_name = DrawName(random);
  op.mode = DrawMode(random);
  op.offset = DrawOffset(random);
  op.other_offset = DrawOffset(random);
  op.length = DrawLength(random);
  op.kill_privileges = random.OneIn(10);
  op.with_attr = random.OneIn(2);
  op.flags = static_cast<uint32_t>(random.Below(8));
  if (op.kind == OpKind::kRename) op.flags = 0;
  DrawExisting(random, choices, op);
  DrawDetails(random, op);
  return op;
}

std::string Operation::Describe() const {
  static constexpr const char* kNames[] = {
      "Create",    "Link",        "Unlink",  "Rmdir",     "Rename",   "Lookup",
      "Readdir",   "Getattr",     "Setattr", "Access",    "Readlink", "Read",
      "Write",     "Fallocate",   "Seek",    "CopyRange", "Getxattr", "Setxattr",
      "Listxattr", "Removexattr", "Fsync",   "Sync",      "Statfs",   "Release"};
  auto shown = [](const std::string& text) {
    return text.size() <= 20 ? text : fmt::format("{}...({})", text.substr(0, 4), text.size());
  };
  std::string line = fmt::format(
      "{} #{} '{}' other #{} '{}' type {} mode {:o} umask {:o} excl {} offset {} other_offset {} "
      "length {} data {} append {} kill {} flags {} uid {} gid {} groups {} checked {}",
      kNames[static_cast<size_t>(kind)], target, shown(name), other, shown(other_name),
      static_cast<int>(type), mode, umask, static_cast<int>(exclusivity), offset, other_offset,
      length, data.size(), append, kill_privileges, flags, uid, gid, groups.size(),
      check_permission);
  if (changes.size) line += fmt::format(" size={}", *changes.size);
  if (changes.mode) line += fmt::format(" mode={:o}", *changes.mode);
  if (changes.uid) line += fmt::format(" uid={}", *changes.uid);
  if (changes.gid) line += fmt::format(" gid={}", *changes.gid);
  if (changes.atime || changes.atime_now) line += " atime";
  if (changes.mtime || changes.mtime_now) line += " mtime";
  return line;
}

}  // namespace prism::model
