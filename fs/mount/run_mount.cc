// Alone in its file, so that tests of the mount over other file systems need no server.
#include <filesystem>

#include "fs/mount/mount.h"
#include "vrpc/resuming_client.h"
#include "vrpc/socket_endpoint.h"

namespace prism::mount {

Outcome<void> RunMount(const MountOptions& options) {
  std::error_code error;
  // The background process works in another directory.
  std::string lane_path = std::filesystem::absolute(options.lane_path, error).string();
  if (error) return ExplainErrno(error.value(), options.lane_path);
  return RunMountOverLane(options, [&] { return vrpc::SocketEndpoint::FactoryFor(lane_path); });
}

Outcome<void> RunMountOverLane(const MountOptions& options, const EndpointsMaker& endpoints) {
  return RunMountOver(
      options, [&](DisconnectHandler on_disconnect) -> Outcome<std::shared_ptr<fs::FileSystem>> {
        PRISM_ASSIGN(std::shared_ptr<vrpc::ResumingClient> client,
                     vrpc::ResumingClient::Connect(endpoints(),
                                                   {.volume = options.volume,
                                                    .barriers = true,
                                                    .snapshots = options.snapshots,
                                                    .timeout_ms = options.connect_timeout_ms},
                                                   {.patience_ms = options.patience_ms}));
        client->SetEndCallback(std::move(on_disconnect));
        return std::shared_ptr<fs::FileSystem>(std::move(client));
      });
}

}  // namespace prism::mount
