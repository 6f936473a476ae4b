#include "server/nlm/programs.h"

namespace prism::nlm {
namespace {

constexpr uint32_t STAT_FAIL = 1;

}  // namespace

NsmProgram::NsmProgram(LockService& locks, uint32_t state) : locks_(locks), state_(state) {
  constexpr bool kReplayed = false, kMayBlock = true;
  procedures_[0] = {"NULL"};
  procedures_[SM_STAT] = {"STAT"};
  procedures_[SM_MON] = {"MON"};
  procedures_[SM_UNMON] = {"UNMON"};
  procedures_[SM_UNMON_ALL] = {"UNMON_ALL"};
  procedures_[SM_SIMU_CRASH] = {"SIMU_CRASH"};
  procedures_[SM_NOTIFY] = {"NOTIFY", kReplayed, kMayBlock};
}

void NsmProgram::Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) {
  rpc::XdrReader in(call.args);
  switch (procedure) {
    case SM_STAT:
      in.String(kStringMax);
      if (!in.Finished()) return reply.SetGarbageArgs();
      reply.out().U32(STAT_FAIL);
      return reply.out().U32(state_);
    case SM_MON:
      reply.out().U32(STAT_FAIL);
      return reply.out().U32(state_);
    case SM_UNMON:
    case SM_UNMON_ALL:
      return reply.out().U32(state_);
    case SM_NOTIFY: {
      const std::string_view name = in.String(kStringMax);
      in.U32();  // its state number: any is a restart
      if (!in.Finished()) return reply.SetGarbageArgs();
      return locks_.FreeAll(call.peer, name);
    }
    default:
      return;  // SIMU_CRASH: not from afar
  }
}

void NsmProgram::Refuse(uint32_t, Err, rpc::Reply& reply) { reply.Drop(); }

}  // namespace prism::nlm
