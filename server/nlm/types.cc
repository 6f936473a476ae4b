#include "server/nlm/types.h"

#include "fs/contract/limits.h"

namespace prism::nlm {

Nlm4Status StatusOf(Err err) {
  switch (err) {
    case Err::kOk:
      return NLM4_GRANTED;
    case Err::kAgain:
      return NLM4_DENIED;
    case Err::kNoLocks:
      return NLM4_DENIED_NOLOCKS;
    case Err::kDeadlock:
      return NLM4_DEADLCK;
    case Err::kReadOnly:
      return NLM4_ROFS;
    case Err::kStale:
      return NLM4_STALE_FH;
    default:
      return NLM4_FAILED;
  }
}

std::string StringOf(std::span<const std::byte> bytes) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

bool Decode(rpc::XdrReader& in, uint32_t procedure, LockCall& call) {
  call.cookie = in.Opaque(kStringMax);
  const bool may_block = procedure == NLMPROC4_LOCK || procedure == NLMPROC4_CANCEL;
  if (may_block) call.block = in.Bool();
  if (procedure != NLMPROC4_UNLOCK) call.exclusive = in.Bool();
  call.lock.caller_name = in.String(kStringMax);
  call.lock.handle = in.Opaque(kStringMax);
  call.lock.oh = in.Opaque(kStringMax);
  call.lock.svid = in.U32();
  call.lock.offset = in.U64();
  call.lock.length = in.U64();
  if (procedure == NLMPROC4_LOCK) {
    call.reclaim = in.Bool();
    in.U32();  // the client's NSM state, which its NOTIFY tells better
  }
  return in.Finished();
}

bool Decode(rpc::XdrReader& in, ShareCall& call) {
  call.cookie = in.Opaque(kStringMax);
  call.caller_name = in.String(kStringMax);
  call.handle = in.Opaque(kStringMax);
  call.oh = in.Opaque(kStringMax);
  call.mode = in.U32();
  call.access = in.U32();
  call.reclaim = in.Bool();
  return in.Finished() && call.mode <= 3 && call.access <= 3;
}

bool RangeOf(const Nlm4Lock& lock, fs::LockArgs& args) {
  if (lock.offset > fs::kLockOffsetMax) return false;
  args.start = lock.offset;
  const uint64_t room = fs::kLockOffsetMax - lock.offset + 1;
  args.length = lock.length >= room ? 0 : lock.length;
  return true;
}

void PutHolder(rpc::XdrWriter& out, const Holder& holder) {
  out.Bool(holder.exclusive);
  out.U32(holder.svid);
  out.String(holder.oh);
  out.U64(holder.offset);
  out.U64(holder.length);
}

void PutGranted(rpc::XdrWriter& out, const GrantedCall& call) {
  out.String(call.cookie);
  out.Bool(call.exclusive);
  out.String(call.caller_name);
  out.String(call.handle);
  out.String(call.oh);
  out.U32(call.svid);
  out.U64(call.offset);
  out.U64(call.length);
}

}  // namespace prism::nlm
