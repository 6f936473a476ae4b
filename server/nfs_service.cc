#include "server/nfs_service.h"

#include "server/nfs3/mount_program.h"
#include "server/nfs3/program.h"

namespace prism::server {

Outcome<std::unique_ptr<NfsService>> NfsService::Start(fs::Host& host, nfs3::Exports& exports,
                                                       const NfsOptions& options) {
  std::unique_ptr<NfsService> service(new NfsService());
  PRISM_ASSIGN(service->handles_, nfs3::HandleCodec::Open(host));
  const nfs3::Services services{host, exports, *service->handles_};
  rpc::RpcOptions rpc;
  rpc.listen = options.listen;
  rpc.workers = options.workers;
  rpc.programs = {std::make_shared<nfs3::NfsProgram>(services),
                  std::make_shared<nfs3::MountProgram>(services)};
  rpc.wait_durable = [&host](uint64_t mark) { return host.WaitDurable(mark); };
  const std::vector<std::shared_ptr<rpc::Program>> programs = rpc.programs;
  PRISM_ASSIGN(service->rpc_, rpc::RpcServer::Start(std::move(rpc)));
  if (!options.portmap) return service;
  std::vector<rpc::PortmapEntry> entries;
  for (const auto& program : programs)
    entries.push_back({program->number(), program->version(), service->address().port});
  PRISM_ASSIGN(service->portmap_, rpc::PortmapRegistration::Register(entries));
  return service;
}

NfsService::~NfsService() {
  portmap_.reset();
  if (rpc_) rpc_->Stop();
}

}  // namespace prism::server
