// The two programs: NLM version 4, and as much of NSM version 1 as machines need of another one.
#pragma once

#include <array>
#include <memory>

#include "server/nlm/lock_service.h"
#include "server/rpc/program.h"

namespace prism::nlm {

class NlmProgram : public rpc::Program {
 public:
  // Both outlive it.
  NlmProgram(LockService& locks, CallbackPool& callbacks);

  uint32_t number() const override { return kNlmProgram; }
  uint32_t version() const override { return kNlmVersion; }
  std::string_view name() const override { return "nlockmgr"; }
  std::span<const rpc::Procedure> procedures() const override { return procedures_; }
  void Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) override;
  void Refuse(uint32_t procedure, Err why, rpc::Reply& reply) override;

 private:
  // The procedure of the first four, into `out`; nothing if the arguments are wrong.
  bool RunLock(uint32_t procedure, const rpc::Call& call, rpc::XdrWriter& out);
  void RunMessage(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply);
  void RunShare(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply);
  void RunFreeAll(const rpc::Call& call, rpc::Reply& reply);

  LockService& locks_;
  CallbackPool& callbacks_;
  std::array<rpc::Procedure, kNlmProcedures> procedures_;
};

// Nobody can have us watch other machines: MON fails. What counts is NOTIFY: a machine tells that
// it has restarted.
class NsmProgram : public rpc::Program {
 public:
  NsmProgram(LockService& locks, uint32_t state);

  uint32_t number() const override { return kNsmProgram; }
  uint32_t version() const override { return kNsmVersion; }
  std::string_view name() const override { return "status"; }
  std::span<const rpc::Procedure> procedures() const override { return procedures_; }
  void Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) override;
  void Refuse(uint32_t procedure, Err why, rpc::Reply& reply) override;

 private:
  LockService& locks_;
  const uint32_t state_;
  std::array<rpc::Procedure, kNsmProcedures> procedures_;
};

}  // namespace prism::nlm
