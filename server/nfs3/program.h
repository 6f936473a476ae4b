// NFS version 3, RFC 1813: all 22 procedures, on every volume of a store.
#pragma once

#include <array>

#include "server/nfs3/exchange.h"
#include "server/rpc/program.h"

namespace prism::nfs3 {

class NfsProgram : public rpc::Program {
 public:
  // What is behind `services` outlives it.
  explicit NfsProgram(const Services& services);

  uint32_t number() const override { return kNfsProgram; }
  uint32_t version() const override { return kVersion; }
  std::string_view name() const override { return "nfs"; }
  std::span<const rpc::Procedure> procedures() const override { return procedures_; }
  void Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) override;
  void Refuse(uint32_t procedure, Err why, rpc::Reply& reply) override;

 private:
  Services services_;
  std::array<rpc::Procedure, kProcedureCount> procedures_;
};

// One for each procedure, in the file of its kind (proc_*.cc).
void Getattr(Exchange& x);
void Setattr(Exchange& x);
void Lookup(Exchange& x);
void Access(Exchange& x);
void Readlink(Exchange& x);
void Read(Exchange& x);
void Write(Exchange& x);
void Create(Exchange& x);
void Mkdir(Exchange& x);
void Symlink(Exchange& x);
void Mknod(Exchange& x);
void Remove(Exchange& x);
void Rmdir(Exchange& x);
void Rename(Exchange& x);
void Link(Exchange& x);
void Readdir(Exchange& x);
void Readdirplus(Exchange& x);
void Fsstat(Exchange& x);
void Fsinfo(Exchange& x);
void Pathconf(Exchange& x);
void Commit(Exchange& x);

}  // namespace prism::nfs3
