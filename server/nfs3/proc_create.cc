// CREATE, MKDIR, SYMLINK, MKNOD: RFC 1813, 3.3.8 to 3.3.11.
#include <algorithm>

#include "server/nfs3/program.h"

namespace prism::nfs3 {
namespace {

enum CreateMode3 : uint32_t { UNCHECKED = 0, GUARDED = 1, EXCLUSIVE = 2 };
constexpr uint32_t kFileMode = 0600;  // of what no mode is given for
constexpr uint32_t kDirectoryMode = 0700;

// What a new file begins with is not checked below: whoever may not give files away must not make
// them for others either.
bool MayBegin(const fs::Caller& caller, const fs::SetAttr& initial) {
  if (caller.uid == 0) return true;
  if (initial.uid && *initial.uid != caller.uid) return false;
  if (!initial.gid || *initial.gid == caller.gid) return true;
  return std::find(caller.groups.begin(), caller.groups.end(), *initial.gid) != caller.groups.end();
}

void PutMade(Exchange& x, const Target& dir, const fs::Attr& attr) {
  x.out.U32(NFS3_OK);
  x.out.Bool(true);
  x.out.Opaque(x.HandleOf(dir.volume, attr.ino));
  PutPostOp(x.out, dir.volume, &attr);
}

// The answer that the first run gave, but for the attributes before.
bool AnsweredBefore(Exchange& x, const Target& dir) {
  const auto done = x.DoneBefore(dir);
  if (!done) return false;
  const fs::Caller caller = dir.Caller();
  const auto attr = dir.fs().Getattr(caller, *done);
  if (!attr) return false;
  const auto parent = dir.fs().Getattr(caller, dir.ino);
  PutMade(x, dir, *attr);
  PutWccAfter(x.out, dir.volume, parent ? &*parent : nullptr);
  x.WaitDurable();
  return true;
}

void Make(Exchange& x, const DirOp& where, fs::CreateArgs& args) {
  if (!x.Decoded()) return;
  const auto dir = x.ResolveToChange(where.dir);
  if (!dir || AnsweredBefore(x, *dir)) return;
  args.parent = dir->ino;
  args.name = where.name;
  const fs::Caller caller = x.GuardedCaller(*dir);
  if (!MayBegin(caller, args.initial)) return x.Fail(NFS3ERR_PERM);
  // The mode goes the way of mkdir(2) and open(2): set-group-id directories and default ACLs apply.
  const uint32_t otherwise = args.type == fs::FileType::kDirectory ? kDirectoryMode : kFileMode;
  args.mode = args.initial.mode.value_or(otherwise);
  args.initial.mode.reset();
  const auto made = dir->fs().Create(caller, args);
  if (!made) return x.Fail(made.error());
  PutMade(x, *dir, made->attr);
  PutWcc(x.out, dir->volume, made->parent);
  x.WaitDurable();
}

}  // namespace

void Create(Exchange& x) {
  const DirOp where = GetDirOp(x.args);
  fs::CreateArgs args;
  switch (GetEnum(x.args, EXCLUSIVE)) {
    case UNCHECKED:
      args.exclusivity = fs::Exclusivity::kUnchecked;
      args.initial = GetSattr(x.args);
      break;
    case GUARDED:
      args.exclusivity = fs::Exclusivity::kGuarded;
      args.initial = GetSattr(x.args);
      break;
    case EXCLUSIVE:
      args.exclusivity = fs::Exclusivity::kVerified;
      args.verifier = x.args.U64();
      break;
  }
  Make(x, where, args);
}

void Mkdir(Exchange& x) {
  const DirOp where = GetDirOp(x.args);
  fs::CreateArgs args;
  args.type = fs::FileType::kDirectory;
  args.initial = GetSattr(x.args);
  args.initial.size.reset();  // means nothing here
  Make(x, where, args);
}

void Symlink(Exchange& x) {
  const DirOp where = GetDirOp(x.args);
  fs::CreateArgs args;
  args.type = fs::FileType::kSymlink;
  args.initial = GetSattr(x.args);
  args.initial.size.reset();
  args.symlink_target = x.args.String(kPathMax);
  Make(x, where, args);
}

void Mknod(Exchange& x) {
  const DirOp where = GetDirOp(x.args);
  const uint32_t type = x.args.U32();
  fs::CreateArgs args;
  args.type = static_cast<fs::FileType>(type);  // the values of ftype3
  switch (args.type) {
    case fs::FileType::kBlockDevice:
    case fs::FileType::kCharDevice:
      args.initial = GetSattr(x.args);
      args.rdev_major = x.args.U32();
      args.rdev_minor = x.args.U32();
      break;
    case fs::FileType::kSocket:
    case fs::FileType::kFifo:
      args.initial = GetSattr(x.args);
      break;
    default:  // a void arm of the union
      if (!x.Decoded()) return;
      if (x.ResolveToChange(where.dir)) x.Fail(NFS3ERR_BADTYPE);
      return;
  }
  args.initial.size.reset();
  Make(x, where, args);
}

}  // namespace prism::nfs3
