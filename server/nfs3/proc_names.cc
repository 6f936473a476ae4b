// REMOVE, RMDIR, RENAME, LINK: RFC 1813, 3.3.12 to 3.3.15.
#include "server/nfs3/program.h"

namespace prism::nfs3 {
namespace {

std::optional<fs::Attr> AttrOf(const Target& target) {
  Result<fs::Attr> attr = target.fs().Getattr(target.Caller(), target.ino);
  if (!attr) return std::nullopt;
  return *attr;
}

void PutWccNow(Exchange& x, const Target& target) {
  const auto attr = AttrOf(target);
  PutWccAfter(x.out, target.volume, attr ? &*attr : nullptr);
}

using RemoveMethod = Result<fs::RemoveResult> (fs::FileSystem::*)(const fs::Caller&, InodeId,
                                                                  std::string_view);

void RemoveBy(Exchange& x, RemoveMethod method) {
  const DirOp what = GetDirOp(x.args);
  if (!x.Decoded()) return;
  const auto dir = x.ResolveToChange(what.dir);
  if (!dir) return;
  if (x.DoneBefore(*dir)) {
    x.out.U32(NFS3_OK);
    PutWccNow(x, *dir);
    return x.WaitDurable();
  }
  const auto removed = (dir->fs().*method)(x.GuardedCaller(*dir), dir->ino, what.name);
  if (!removed) return x.Fail(removed.error());
  x.out.U32(NFS3_OK);
  PutWcc(x.out, dir->volume, removed->parent);
  x.WaitDurable();
}

}  // namespace

void Remove(Exchange& x) { RemoveBy(x, &fs::FileSystem::Unlink); }

// "." and ".." are both NFS3ERR_INVAL here: in the contract they are no names of entries.
void Rmdir(Exchange& x) { RemoveBy(x, &fs::FileSystem::Rmdir); }

void Rename(Exchange& x) {
  const DirOp from = GetDirOp(x.args);
  const DirOp to = GetDirOp(x.args);
  if (!x.Decoded()) return;
  const auto from_dir = x.ResolveToChange(from.dir);
  if (!from_dir) return;
  const auto to_dir = x.ResolveToChange(to.dir);
  if (!to_dir) return;
  if (from_dir->volume != to_dir->volume) return x.Fail(NFS3ERR_XDEV);
  if (x.DoneBefore(*from_dir)) {
    x.out.U32(NFS3_OK);
    PutWccNow(x, *from_dir);
    PutWccNow(x, *to_dir);
    return x.WaitDurable();
  }
  const auto renamed = from_dir->fs().Rename(x.GuardedCaller(*from_dir), from_dir->ino, from.name,
                                             to_dir->ino, to.name, fs::kRenameNone);
  if (!renamed) return x.Fail(renamed.error());
  x.out.U32(NFS3_OK);
  PutWcc(x.out, from_dir->volume, renamed->from_parent);
  PutWcc(x.out, to_dir->volume, renamed->to_parent);
  x.WaitDurable();
}

void Link(Exchange& x) {
  const auto handle = GetHandle(x.args);
  const DirOp where = GetDirOp(x.args);
  if (!x.Decoded()) return;
  const auto file = x.ResolveToChange(handle);
  if (!file) return;
  const auto dir = x.ResolveToChange(where.dir);
  if (!dir) return;
  if (file->volume != dir->volume) return x.Fail(NFS3ERR_XDEV);
  if (x.DoneBefore(*file)) {
    const auto attr = AttrOf(*file);
    x.out.U32(NFS3_OK);
    PutPostOp(x.out, file->volume, attr ? &*attr : nullptr);
    PutWccNow(x, *dir);
    return x.WaitDurable();
  }
  const auto linked = dir->fs().Link(x.GuardedCaller(*dir), file->ino, dir->ino, where.name);
  if (!linked) return x.Fail(linked.error());
  x.out.U32(NFS3_OK);
  PutPostOp(x.out, file->volume, &linked->attr);
  PutWcc(x.out, dir->volume, linked->parent);
  x.WaitDurable();
}

}  // namespace prism::nfs3
