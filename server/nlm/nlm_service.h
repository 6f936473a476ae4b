// Locking for NFS clients: everything of this folder, put together.
#pragma once

#include <memory>
#include <vector>

#include "server/nlm/lock_service.h"
#include "server/nlm/programs.h"

namespace prism::nlm {

struct NlmOptions {
  LockOptions locks;
  CallbackOptions callbacks;
};

class NlmService {
 public:
  // What is behind `services` outlives it. The machines that had locks are told that we are back
  // once Begin is called.
  static Outcome<std::unique_ptr<NlmService>> Open(const nfs3::Services& services,
                                                   const NlmOptions& options);
  // After the RPC server has stopped.
  ~NlmService();

  // For the RPC server; they refer to this object.
  std::vector<std::shared_ptr<rpc::Program>> Programs();
  // The programs are served: tells the machines, and ends the grace period in time.
  void Begin();

 private:
  NlmService(const nfs3::Services& services, const NlmOptions& options,
             std::unique_ptr<HostTable> hosts);
  void Notify(const Machine& machine, uint32_t attempt);

  const NlmOptions options_;
  std::unique_ptr<HostTable> hosts_;
  CallbackPool callbacks_;
  LockService locks_;
};

}  // namespace prism::nlm
