// LOOKUP, READLINK: RFC 1813, 3.3.3, 3.3.5.
#include "server/nfs3/program.h"

namespace prism::nfs3 {

void Lookup(Exchange& x) {
  const DirOp what = GetDirOp(x.args);
  if (!x.Decoded()) return;
  const auto dir = x.Resolve(what.dir);
  if (!dir) return;
  const auto found = dir->fs().Lookup(dir->Caller(), dir->ino, what.name);
  if (!found) return x.Fail(found.error());
  x.out.U32(NFS3_OK);
  x.out.Opaque(x.HandleOf(dir->volume, found->attr.ino));
  PutPostOp(x.out, dir->volume, &found->attr);
  PutPostOp(x.out, dir->volume, &found->parent.after);
}

void Readlink(Exchange& x) {
  const auto handle = GetHandle(x.args);
  if (!x.Decoded()) return;
  const auto target = x.Resolve(handle);
  if (!target) return;
  const fs::Caller caller = target->Caller();
  const Result<std::string> path = target->fs().Readlink(caller, target->ino);
  if (!path) return x.Fail(path.error());
  const Result<fs::Attr> attr = target->fs().Getattr(caller, target->ino);
  x.out.U32(NFS3_OK);
  PutPostOp(x.out, target->volume, attr ? &*attr : nullptr);
  x.out.String(*path);
}

}  // namespace prism::nfs3
