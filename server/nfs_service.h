// The NFS front end of a running server: NFS, MOUNT and locking on one port.
#pragma once

#include <memory>
#include <string>

#include "fs/base/failure.h"
#include "fs/core/host.h"
#include "server/nfs3/exports.h"
#include "server/nfs3/file_handle.h"
#include "server/nlm/nlm_service.h"
#include "server/rpc/portmap.h"
#include "server/rpc/server.h"

namespace prism::server {

struct NfsOptions {
  std::string listen;    // ADDR:PORT, numeric
  bool portmap = false;  // register with the host's portmapper (rpcbind)
  unsigned workers = 16;
  nlm::NlmOptions nlm;
};

class NfsService {
 public:
  // Serves from the return on. `host` and `exports` outlive it.
  static Outcome<std::unique_ptr<NfsService>> Start(fs::Host& host, nfs3::Exports& exports,
                                                    const NfsOptions& options);
  ~NfsService();

  const rpc::PeerAddress& address() const { return rpc_->address(); }

 private:
  NfsService() = default;

  std::unique_ptr<nfs3::HandleCodec> handles_;
  std::unique_ptr<nlm::NlmService> nlm_;
  std::unique_ptr<rpc::RpcServer> rpc_;
  std::unique_ptr<rpc::PortmapRegistration> portmap_;  // as long as rpc_ serves
  std::unique_ptr<rpc::PortmapRegistration> nsm_portmap_;
};

}  // namespace prism::server
