// READ, WRITE, COMMIT: RFC 1813, 3.3.6, 3.3.7, 3.3.21.
#include <algorithm>

#include "server/nfs3/program.h"

namespace prism::nfs3 {
void Read(Exchange& x) {
  const auto handle = GetHandle(x.args);
  const uint64_t offset = x.args.U64();
  const uint32_t count = std::min(x.args.U32(), kIoMax);
  if (!x.Decoded()) return;
  const auto target = x.Resolve(handle);
  if (!target) return;
  auto read = target->fs().ReadKept(target->Caller(), target->ino, offset, count);
  if (!read) return x.Fail(read.error());
  const fs::ReadResult& result = read->result;
  x.out.U32(NFS3_OK);
  PutPostOp(x.out, target->volume, &result.attr);
  x.out.U32(result.length);
  x.out.Bool(result.eof);
  x.out.U32(result.length);
  x.reply().Attach(std::move(read->parts));
}

void Write(Exchange& x) {
  const auto handle = GetHandle(x.args);
  fs::WriteArgs write;
  write.offset = x.args.U64();
  const uint32_t count = x.args.U32();
  write.stability = static_cast<fs::Stability>(GetEnum(x.args, 2));  // the values of stable_how
  write.data = x.args.Opaque(kIoMax);
  if (!x.Decoded()) return;
  const auto target = x.ResolveToChange(handle);
  if (!target) return;
  if (count > write.data.size()) return x.Fail(NFS3ERR_INVAL);
  write.data = write.data.first(count);
  write.ino = target->ino;
  const auto written = target->fs().Write(target->Caller(), write);
  if (!written) return x.Fail(written.error());
  x.out.U32(NFS3_OK);
  PutWcc(x.out, target->volume, written->change);
  x.out.U32(written->length);
  x.out.U32(static_cast<uint32_t>(written->committed));
  x.out.U64(x.write_verifier());
}

void Commit(Exchange& x) {
  const auto handle = GetHandle(x.args);
  x.args.U64();  // offset and count: what else waits of the file goes to the disk too
  x.args.U32();
  if (!x.Decoded()) return;
  const auto target = x.ResolveToChange(handle);
  if (!target) return;
  const fs::Caller caller = target->Caller();
  const Result<fs::Attr> before = target->fs().Getattr(caller, target->ino);
  if (!before) return x.Fail(before.error());
  if (before->type != fs::FileType::kRegular) return x.Fail(NFS3ERR_INVAL);
  if (Status synced = target->fs().Fsync(caller, target->ino, false); !synced)
    return x.Fail(synced.error());
  const Result<fs::Attr> after = target->fs().Getattr(caller, target->ino);
  x.out.U32(NFS3_OK);
  // Saving changes no attributes. If they differ somebody else did, and the client must notice.
  if (after && after->change == before->change)
    PutWcc(x.out, target->volume, {*before, *after});
  else
    PutWccAfter(x.out, target->volume, after ? &*after : nullptr);
  x.out.U64(x.write_verifier());
}

}  // namespace prism::nfs3
