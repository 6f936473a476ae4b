// GETATTR, SETATTR, ACCESS: RFC 1813, 3.3.1, 3.3.2, 3.3.4.
#include <unistd.h>

#include "server/nfs3/program.h"

namespace prism::nfs3 {
namespace {

enum Access3 : uint32_t {
  ACCESS3_READ = 0x01,
  ACCESS3_LOOKUP = 0x02,
  ACCESS3_MODIFY = 0x04,
  ACCESS3_EXTEND = 0x08,
  ACCESS3_DELETE = 0x10,
  ACCESS3_EXECUTE = 0x20,
};

// What each permission bit allows: DELETE is about a directory's entries, LOOKUP is a directory's
// execution.
uint32_t Allowed(const fs::Attr& attr, uint32_t granted, bool read_only) {
  const bool directory = attr.type == fs::FileType::kDirectory;
  uint32_t allowed = 0;
  if (granted & R_OK) allowed |= ACCESS3_READ;
  if (granted & X_OK) allowed |= directory ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
  if ((granted & W_OK) && !read_only)
    allowed |= ACCESS3_MODIFY | ACCESS3_EXTEND | (directory ? uint32_t{ACCESS3_DELETE} : 0u);
  return allowed;
}

}  // namespace

void Getattr(Exchange& x) {
  const auto handle = GetHandle(x.args);
  if (!x.Decoded()) return;
  const auto target = x.Resolve(handle);
  if (!target) return;
  const Result<fs::Attr> attr = target->fs().Getattr(target->Caller(), target->ino);
  if (!attr) return x.Fail(attr.error());
  x.out.U32(NFS3_OK);
  PutFattr(x.out, target->volume, *attr);
}

void Setattr(Exchange& x) {
  const auto handle = GetHandle(x.args);
  fs::SetAttr changes = GetSattr(x.args);
  changes.if_ctime = GetTimeGuard(x.args);
  if (!x.Decoded()) return;
  const auto target = x.ResolveToChange(handle);
  if (!target) return;
  const Result<fs::Change> change = target->fs().Setattr(target->Caller(), target->ino, changes);
  if (!change) return x.Fail(change.error());
  x.out.U32(NFS3_OK);
  PutWcc(x.out, target->volume, *change);
  x.WaitDurable();
}

void Access(Exchange& x) {
  const auto handle = GetHandle(x.args);
  const uint32_t wanted = x.args.U32();
  if (!x.Decoded()) return;
  const auto target = x.Resolve(handle);
  if (!target) return;
  const fs::Caller caller = target->Caller();
  const Result<uint32_t> granted = target->fs().Access(caller, target->ino, R_OK | W_OK | X_OK);
  if (!granted) return x.Fail(granted.error());
  const Result<fs::Attr> attr = target->fs().Getattr(caller, target->ino);
  if (!attr) return x.Fail(attr.error());
  x.out.U32(NFS3_OK);
  PutPostOp(x.out, target->volume, &*attr);
  x.out.U32(wanted & Allowed(*attr, *granted, target->read_only));
}

}  // namespace prism::nfs3
