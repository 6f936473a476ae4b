#include "server/nlm/programs.h"

namespace prism::nlm {
namespace {

// Each *_MSG is followed, five numbers on, by its *_RES.
constexpr uint32_t kFirstMessage = NLMPROC4_TEST_MSG;
constexpr uint32_t kToResult = NLMPROC4_TEST_RES - NLMPROC4_TEST_MSG;

}  // namespace

NlmProgram::NlmProgram(LockService& locks, CallbackPool& callbacks)
    : locks_(locks), callbacks_(callbacks) {
  constexpr bool kReplayed = false;
  constexpr bool kMayBlock = true;  // a machine's first lock is written down
  procedures_[0] = {"NULL"};
  procedures_[NLMPROC4_TEST] = {"TEST"};
  procedures_[NLMPROC4_LOCK] = {"LOCK", kReplayed, kMayBlock};
  procedures_[NLMPROC4_CANCEL] = {"CANCEL"};
  procedures_[NLMPROC4_UNLOCK] = {"UNLOCK"};
  procedures_[NLMPROC4_GRANTED] = {"GRANTED"};
  procedures_[NLMPROC4_TEST_MSG] = {"TEST_MSG"};
  procedures_[NLMPROC4_LOCK_MSG] = {"LOCK_MSG", kReplayed, kMayBlock};
  procedures_[NLMPROC4_CANCEL_MSG] = {"CANCEL_MSG"};
  procedures_[NLMPROC4_UNLOCK_MSG] = {"UNLOCK_MSG"};
  procedures_[NLMPROC4_GRANTED_MSG] = {"GRANTED_MSG"};
  procedures_[NLMPROC4_TEST_RES] = {"TEST_RES"};
  procedures_[NLMPROC4_LOCK_RES] = {"LOCK_RES"};
  procedures_[NLMPROC4_CANCEL_RES] = {"CANCEL_RES"};
  procedures_[NLMPROC4_UNLOCK_RES] = {"UNLOCK_RES"};
  procedures_[NLMPROC4_GRANTED_RES] = {"GRANTED_RES"};
  procedures_[NLMPROC4_SHARE] = {"SHARE", kReplayed, kMayBlock};
  procedures_[NLMPROC4_UNSHARE] = {"UNSHARE"};
  procedures_[NLMPROC4_NM_LOCK] = {"NM_LOCK", kReplayed, kMayBlock};
  procedures_[NLMPROC4_FREE_ALL] = {"FREE_ALL", kReplayed, kMayBlock};
}

void NlmProgram::Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) {
  switch (procedure) {
    case NLMPROC4_TEST:
    case NLMPROC4_LOCK:
    case NLMPROC4_CANCEL:
    case NLMPROC4_UNLOCK:
    case NLMPROC4_NM_LOCK:
      if (!RunLock(procedure, call, reply.out())) reply.SetGarbageArgs();
      return;
    case NLMPROC4_TEST_MSG:
    case NLMPROC4_LOCK_MSG:
    case NLMPROC4_CANCEL_MSG:
    case NLMPROC4_UNLOCK_MSG:
      return RunMessage(procedure, call, reply);
    case NLMPROC4_SHARE:
    case NLMPROC4_UNSHARE:
      return RunShare(procedure, call, reply);
    case NLMPROC4_FREE_ALL:
      return RunFreeAll(call, reply);
    case NLMPROC4_GRANTED: {  // we never ask anybody for a lock
      LockCall granted;
      rpc::XdrReader in(call.args);
      if (!Decode(in, procedure, granted)) return reply.SetGarbageArgs();
      reply.out().Opaque(granted.cookie);
      return reply.out().U32(NLM4_DENIED);
    }
    default:
      return;  // results of what we never sent: nothing is answered but that they came
  }
}

void NlmProgram::Refuse(uint32_t procedure, Err, rpc::Reply& reply) {
  // The cookie is not known here, and without it no answer is understood: clients ask again.
  (void)procedure;
  reply.Drop();
}

bool NlmProgram::RunLock(uint32_t procedure, const rpc::Call& call, rpc::XdrWriter& out) {
  // NM_LOCK's caller does not watch us, but has LOCK's arguments; that we remember it costs
  // nothing.
  if (procedure == NLMPROC4_NM_LOCK) procedure = NLMPROC4_LOCK;
  LockCall request;
  rpc::XdrReader in(call.args);
  if (!Decode(in, procedure, request)) return false;
  Holder holder;
  Nlm4Status status = NLM4_FAILED;
  if (procedure == NLMPROC4_TEST) status = locks_.Test(call, request, holder);
  if (procedure == NLMPROC4_LOCK) status = locks_.Lock(call, request);
  if (procedure == NLMPROC4_CANCEL) status = locks_.Cancel(call, request);
  if (procedure == NLMPROC4_UNLOCK) status = locks_.Unlock(call, request);
  out.Opaque(request.cookie);
  out.U32(status);
  if (procedure == NLMPROC4_TEST && status == NLM4_DENIED) PutHolder(out, holder);
  return true;
}

void NlmProgram::RunMessage(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) {
  std::vector<std::byte> result;
  rpc::XdrWriter out(result);
  if (!RunLock(procedure - kFirstMessage + NLMPROC4_TEST, call, out)) return reply.SetGarbageArgs();
  const rpc::RemoteProcedure answer{kNlmProgram, kNlmVersion, procedure + kToResult};
  // One that cannot be delivered is lost, as a datagram would be: the client asks again.
  callbacks_.Run(call.peer, std::chrono::milliseconds(0),
                 [this, peer = call.peer, answer, result = std::move(result)] {
                   (void)callbacks_.Call(peer, answer, result);
                 });
}

void NlmProgram::RunShare(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) {
  ShareCall request;
  rpc::XdrReader in(call.args);
  if (!Decode(in, request)) return reply.SetGarbageArgs();
  const Nlm4Status status =
      procedure == NLMPROC4_SHARE ? locks_.Share(call, request) : locks_.Unshare(call, request);
  reply.out().Opaque(request.cookie);
  reply.out().U32(status);
  reply.out().U32(0);  // sequence
}

void NlmProgram::RunFreeAll(const rpc::Call& call, rpc::Reply& reply) {
  rpc::XdrReader in(call.args);
  const std::string_view name = in.String(kStringMax);
  in.U32();  // state
  if (!in.Finished()) return reply.SetGarbageArgs();
  locks_.FreeAll(call.peer, name);
}

}  // namespace prism::nlm
