// FSSTAT, FSINFO, PATHCONF: RFC 1813, 3.3.18 to 3.3.20.
#include "server/nfs3/program.h"

namespace prism::nfs3 {
namespace {

enum Properties : uint32_t {
  FSF3_LINK = 0x01,
  FSF3_SYMLINK = 0x02,
  FSF3_HOMOGENEOUS = 0x08,
  FSF3_CANSETTIME = 0x10,
};

constexpr uint32_t kIoMultiple = 4096;
constexpr uint32_t kDirPreferred = 64u << 10;

// Begins the reply of all three: status and attributes. nullopt: it has failed.
std::optional<Target> Begin(Exchange& x) {
  const auto handle = GetHandle(x.args);
  if (!x.Decoded()) return std::nullopt;
  auto target = x.Resolve(handle);
  if (!target) return std::nullopt;
  const Result<fs::Attr> attr = target->fs().Getattr(target->Caller(), target->ino);
  if (!attr) {
    x.Fail(attr.error());
    return std::nullopt;
  }
  x.out.U32(NFS3_OK);
  PutPostOp(x.out, target->volume, &*attr);
  return target;
}

}  // namespace

void Fsstat(Exchange& x) {
  const auto target = Begin(x);
  if (!target) return;
  const Result<fs::StatfsResult> stat = target->fs().Statfs(target->Caller());
  if (!stat) return x.Fail(stat.error());
  x.out.U64(stat->total_bytes);
  x.out.U64(stat->free_bytes);
  x.out.U64(stat->free_bytes);  // nothing is kept back for root
  x.out.U64(stat->files + stat->free_files);
  x.out.U64(stat->free_files);
  x.out.U64(stat->free_files);
  x.out.U32(0);  // invarsec: it can change at any time
}

void Fsinfo(Exchange& x) {
  if (!Begin(x)) return;
  for (int i = 0; i < 2; ++i) {  // of READ, of WRITE
    x.out.U32(kIoMax);
    x.out.U32(kIoMax);
    x.out.U32(kIoMultiple);
  }
  x.out.U32(kDirPreferred);
  x.out.U64(fs::kFileSizeMax);
  x.out.U32(0);  // time_delta: a nanosecond
  x.out.U32(1);
  x.out.U32(FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME);
}

void Pathconf(Exchange& x) {
  if (!Begin(x)) return;
  x.out.U32(fs::kLinkMax);
  x.out.U32(fs::kNameMax);
  x.out.Bool(true);   // no_trunc
  x.out.Bool(true);   // chown_restricted
  x.out.Bool(false);  // case_insensitive
  x.out.Bool(true);   // case_preserving
}

}  // namespace prism::nfs3
