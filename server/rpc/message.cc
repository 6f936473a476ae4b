#include "server/rpc/message.h"

#include <cstring>

#include "fs/base/check.h"
#include "server/rpc/record.h"

namespace prism::rpc {
namespace {

bool DecodeAuthSys(std::span<const std::byte> body, Credentials& credentials) {
  XdrReader in(body);
  in.U32();  // the stamp: an arbitrary number
  credentials.machine_name = in.String(kMachineNameMax);
  credentials.uid = in.U32();
  credentials.gid = in.U32();
  const uint32_t count = in.U32();
  if (count > kAuthGroupsMax) return false;
  for (uint32_t i = 0; i < count; ++i) credentials.groups[i] = in.U32();
  credentials.group_count = count;
  credentials.auth_sys = true;
  return in.Finished();
}

}  // namespace

bool DecodeCall(std::span<const std::byte> record, CallHeader& call) {
  XdrReader in(record);
  call.xid = in.U32();
  const uint32_t type = in.U32();
  call.rpc_version = in.U32();
  if (in.failed() || type != static_cast<uint32_t>(MessageType::kCall)) return false;
  if (call.rpc_version != kRpcVersion) return true;
  call.program = in.U32();
  call.version = in.U32();
  call.procedure = in.U32();
  const uint32_t flavor = in.U32();
  const std::span<const std::byte> body = in.Opaque(kAuthBodyMax);
  const uint32_t verifier_flavor = in.U32();
  const std::span<const std::byte> verifier = in.Opaque(kAuthBodyMax);
  if (in.failed()) return false;
  call.args = in.remaining();

  if (flavor == static_cast<uint32_t>(AuthFlavor::kSys)) {
    if (!DecodeAuthSys(body, call.credentials)) call.auth = AuthStat::kBadCredentials;
  } else if (flavor != static_cast<uint32_t>(AuthFlavor::kNone)) {
    call.auth = AuthStat::kRejectedCredentials;
  }
  if (call.auth == AuthStat::kOk &&
      (verifier_flavor != static_cast<uint32_t>(AuthFlavor::kNone) || !verifier.empty()))
    call.auth = AuthStat::kBadVerifier;
  return true;
}

void EncodeCallHeader(uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                      XdrWriter& out) {
  out.U32(xid);
  out.U32(static_cast<uint32_t>(MessageType::kCall));
  out.U32(kRpcVersion);
  out.U32(program);
  out.U32(version);
  out.U32(procedure);
  for (int i = 0; i < 2; ++i) {  // credentials and verifier
    out.U32(static_cast<uint32_t>(AuthFlavor::kNone));
    out.U32(0);
  }
}

void ReplyHeader::Put(uint32_t value) {
  value = __builtin_bswap32(value);
  std::memcpy(bytes_.data() + size_bytes_, &value, 4);
  size_bytes_ += 4;
}

ReplyHeader& ReplyHeader::Mark(size_t following_bytes) {
  const size_t record_bytes = size_bytes_ - 4 + following_bytes;
  PRISM_CHECK(record_bytes < kLastFragment);
  const uint32_t mark = __builtin_bswap32(kLastFragment | static_cast<uint32_t>(record_bytes));
  std::memcpy(bytes_.data(), &mark, 4);
  return *this;
}

ReplyHeader ReplyHeader::Accepted(uint32_t xid, AcceptStat stat, size_t results_bytes) {
  ReplyHeader header(xid);
  header.Put(static_cast<uint32_t>(ReplyStat::kAccepted));
  header.Put(static_cast<uint32_t>(AuthFlavor::kNone));
  header.Put(0);
  header.Put(static_cast<uint32_t>(stat));
  return header.Mark(results_bytes);
}

ReplyHeader ReplyHeader::ProgramMismatch(uint32_t xid, uint32_t low, uint32_t high) {
  ReplyHeader header = Accepted(xid, AcceptStat::kProgramMismatch, 0);
  header.Put(low);
  header.Put(high);
  return header.Mark(0);
}

ReplyHeader ReplyHeader::RpcMismatch(uint32_t xid) {
  ReplyHeader header(xid);
  header.Put(static_cast<uint32_t>(ReplyStat::kDenied));
  header.Put(static_cast<uint32_t>(RejectStat::kRpcMismatch));
  header.Put(kRpcVersion);
  header.Put(kRpcVersion);
  return header.Mark(0);
}

ReplyHeader ReplyHeader::AuthError(uint32_t xid, AuthStat stat) {
  ReplyHeader header(xid);
  header.Put(static_cast<uint32_t>(ReplyStat::kDenied));
  header.Put(static_cast<uint32_t>(RejectStat::kAuthError));
  header.Put(static_cast<uint32_t>(stat));
  return header.Mark(0);
}

}  // namespace prism::rpc
