// The structures of RFC 1813 in XDR.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "fs/contract/file_system.h"
#include "server/nfs3/types.h"
#include "server/rpc/xdr.h"

namespace prism::nfs3 {

// fattr3; fsid is the volume's id. Seconds beyond 32 bits are the nearest that can be said.
void PutFattr(rpc::XdrWriter& out, VolumeId volume, const fs::Attr& attr);
// post_op_attr; nullptr: none.
void PutPostOp(rpc::XdrWriter& out, VolumeId volume, const fs::Attr* attr);
// wcc_data of a change that was taken atomically; without one: no attributes before, `after` or
// none after.
void PutWcc(rpc::XdrWriter& out, VolumeId volume, const fs::Change& change);
void PutWccAfter(rpc::XdrWriter& out, VolumeId volume, const fs::Attr* after);

// The bytes that PutFattr writes.
inline constexpr size_t kFattrSize = 84;

// sattr3 and sattrguard3. A mode's bits beyond 07777 are dropped, as knfsd does.
fs::SetAttr GetSattr(rpc::XdrReader& in);
std::optional<fs::Timespec> GetTimeGuard(rpc::XdrReader& in);
fs::Timespec GetTime(rpc::XdrReader& in);

struct DirOp {  // diropargs3
  std::span<const std::byte> dir;
  std::string_view name;
};
inline std::span<const std::byte> GetHandle(rpc::XdrReader& in) { return in.Opaque(kFhSizeMax); }
DirOp GetDirOp(rpc::XdrReader& in);

// A value of an enumeration 0..last; others fail the reader.
uint32_t GetEnum(rpc::XdrReader& in, uint32_t last);

}  // namespace prism::nfs3
