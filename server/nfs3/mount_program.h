// MOUNT version 3, RFC 1813, appendix I: from /NAME, or a directory below it, to its handle.
#pragma once

#include <array>
#include <deque>
#include <mutex>
#include <string>

#include "server/nfs3/exchange.h"
#include "server/rpc/program.h"

namespace prism::nfs3 {

class MountProgram : public rpc::Program {
 public:
  explicit MountProgram(const Services& services);

  uint32_t number() const override { return kMountProgram; }
  uint32_t version() const override { return kVersion; }
  std::string_view name() const override { return "mountd"; }
  std::span<const rpc::Procedure> procedures() const override { return procedures_; }
  void Run(uint32_t procedure, const rpc::Call& call, rpc::Reply& reply) override;
  void Refuse(uint32_t procedure, Err why, rpc::Reply& reply) override;

 private:
  static constexpr uint32_t kProcedures = 6;
  // What DUMP tells is a courtesy: the latest, not all.
  static constexpr size_t kMountsKept = 1024;
  struct Mount {
    std::string client;
    std::string path;
    bool operator==(const Mount&) const = default;
  };

  void Mnt(const rpc::Call& call, rpc::Reply& reply);
  void Dump(const rpc::Call& call, rpc::Reply& reply);
  void Umnt(const rpc::Call& call, rpc::Reply& reply);
  void Umntall(const rpc::Call& call, rpc::Reply& reply);
  void Export(const rpc::Call& call, rpc::Reply& reply);
  Result<FileId> Walk(const rpc::Call& call, std::string_view path);

  Services services_;
  std::array<rpc::Procedure, kProcedures> procedures_;
  std::mutex mutex_;
  std::deque<Mount> mounts_;  // guarded by mutex_
};

}  // namespace prism::nfs3
