#include "server/nfs3/codec.h"

#include <algorithm>

namespace prism::nfs3 {
namespace {

enum TimeHow : uint32_t { DONT_CHANGE = 0, SET_TO_SERVER_TIME = 1, SET_TO_CLIENT_TIME = 2 };
constexpr uint32_t kModeBits = 07777;
constexpr size_t kWccAttrSize = 4 + 8 + 8 + 8;  // of a pre_op_attr

template <typename Block>
void PutTime(Block& out, const fs::Timespec& time) {
  out.U32(static_cast<uint32_t>(std::clamp<int64_t>(time.sec, 0, UINT32_MAX)));
  out.U32(time.nsec);
}

void PutWccAttr(rpc::XdrWriter& out, const fs::Attr& attr) {
  rpc::XdrBlock<kWccAttrSize> block;
  block.Bool(true);
  block.U64(attr.size);
  PutTime(block, attr.mtime);
  PutTime(block, attr.ctime);
  out.Append(block);
}

}  // namespace

void PutFattr(rpc::XdrWriter& out, VolumeId volume, const fs::Attr& attr) {
  rpc::XdrBlock<kFattrSize> block;
  block.U32(static_cast<uint32_t>(attr.type));
  block.U32(attr.mode);
  block.U32(attr.nlink);
  block.U32(attr.uid);
  block.U32(attr.gid);
  block.U64(attr.size);
  block.U64(attr.used_bytes);
  block.U32(attr.rdev_major);
  block.U32(attr.rdev_minor);
  block.U64(volume);
  block.U64(attr.ino);
  PutTime(block, attr.atime);
  PutTime(block, attr.mtime);
  PutTime(block, attr.ctime);
  out.Append(block);
}

void PutPostOp(rpc::XdrWriter& out, VolumeId volume, const fs::Attr* attr) {
  out.Bool(attr != nullptr);
  if (attr != nullptr) PutFattr(out, volume, *attr);
}

void PutWcc(rpc::XdrWriter& out, VolumeId volume, const fs::Change& change) {
  PutWccAttr(out, change.before);
  PutPostOp(out, volume, &change.after);
}

void PutWccAfter(rpc::XdrWriter& out, VolumeId volume, const fs::Attr* after) {
  out.Bool(false);
  PutPostOp(out, volume, after);
}

fs::Timespec GetTime(rpc::XdrReader& in) {
  fs::Timespec time;
  time.sec = in.U32();
  time.nsec = in.U32();
  return time;
}

uint32_t GetEnum(rpc::XdrReader& in, uint32_t last) {
  const uint32_t value = in.U32();
  if (value > last) in.Reject();
  return value;
}

fs::SetAttr GetSattr(rpc::XdrReader& in) {
  fs::SetAttr changes;
  if (in.Bool()) changes.mode = in.U32() & kModeBits;
  if (in.Bool()) changes.uid = in.U32();
  if (in.Bool()) changes.gid = in.U32();
  if (in.Bool()) changes.size = in.U64();
  const uint32_t atime = GetEnum(in, SET_TO_CLIENT_TIME);
  if (atime == SET_TO_CLIENT_TIME) changes.atime = GetTime(in);
  changes.atime_now = atime == SET_TO_SERVER_TIME;
  const uint32_t mtime = GetEnum(in, SET_TO_CLIENT_TIME);
  if (mtime == SET_TO_CLIENT_TIME) changes.mtime = GetTime(in);
  changes.mtime_now = mtime == SET_TO_SERVER_TIME;
  return changes;
}

std::optional<fs::Timespec> GetTimeGuard(rpc::XdrReader& in) {
  if (!in.Bool()) return std::nullopt;
  return GetTime(in);
}

DirOp GetDirOp(rpc::XdrReader& in) {
  DirOp op;
  op.dir = GetHandle(in);
  op.name = in.String(kNameMax);
  return op;
}

}  // namespace prism::nfs3
