#include "server/nfs3/program.h"

#include "fs/base/check.h"

namespace prism::nfs3 {
namespace {

struct Row {
  std::string_view name;
  void (*run)(Exchange&);
  FailureBody failure;
  bool replay_guarded;
  bool may_block;  // waits for the medium, or has a payload to read from it
};

constexpr bool kGuarded = true, kIdempotent = false;
constexpr bool kMayBlock = true, kQuick = false;

constexpr std::array<Row, kProcedureCount> kRows = {{
    {"NULL", nullptr, FailureBody::kNothing, kIdempotent, kQuick},
    {"GETATTR", Getattr, FailureBody::kNothing, kIdempotent, kQuick},
    {"SETATTR", Setattr, FailureBody::kWcc, kGuarded, kQuick},
    {"LOOKUP", Lookup, FailureBody::kPostOp, kIdempotent, kQuick},
    {"ACCESS", Access, FailureBody::kPostOp, kIdempotent, kQuick},
    {"READLINK", Readlink, FailureBody::kPostOp, kIdempotent, kQuick},
    {"READ", Read, FailureBody::kPostOp, kIdempotent, kMayBlock},
    {"WRITE", Write, FailureBody::kWcc, kIdempotent, kMayBlock},
    {"CREATE", Create, FailureBody::kWcc, kGuarded, kQuick},
    {"MKDIR", Mkdir, FailureBody::kWcc, kGuarded, kQuick},
    {"SYMLINK", Symlink, FailureBody::kWcc, kGuarded, kQuick},
    {"MKNOD", Mknod, FailureBody::kWcc, kGuarded, kQuick},
    {"REMOVE", Remove, FailureBody::kWcc, kGuarded, kQuick},
    {"RMDIR", Rmdir, FailureBody::kWcc, kGuarded, kQuick},
    {"RENAME", Rename, FailureBody::kTwoWcc, kGuarded, kQuick},
    {"LINK", Link, FailureBody::kPostOpAndWcc, kGuarded, kQuick},
    {"READDIR", Readdir, FailureBody::kPostOp, kIdempotent, kMayBlock},
    {"READDIRPLUS", Readdirplus, FailureBody::kPostOp, kIdempotent, kMayBlock},
    {"FSSTAT", Fsstat, FailureBody::kPostOp, kIdempotent, kQuick},
    {"FSINFO", Fsinfo, FailureBody::kPostOp, kIdempotent, kQuick},
    {"PATHCONF", Pathconf, FailureBody::kPostOp, kIdempotent, kQuick},
    {"COMMIT", Commit, FailureBody::kWcc, kIdempotent, kMayBlock},
}};

}  // namespace

NfsProgram::NfsProgram(const Services& services) : services_(services) {
  for (size_t i = 0; i < kRows.size(); ++i)
    procedures_[i] = {kRows[i].name, kRows[i].replay_guarded, kRows[i].may_block};
}

void NfsProgram::Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) {
  PRISM_CHECK(procedure > 0 && procedure < kRows.size());
  const Row& row = kRows[procedure];
  Exchange exchange(services_, call, row.failure, reply);
  row.run(exchange);
}

void NfsProgram::Refuse(uint32_t procedure, Err why, rpc::Reply& reply) {
  PRISM_CHECK(procedure < kRows.size());
  reply.out().U32(StatusOf(why));
  PutFailureBody(reply.out(), kRows[procedure].failure, 0, nullptr);
}

}  // namespace prism::nfs3
