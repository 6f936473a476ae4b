// Alone in its file, so that tests of the mount over other file systems need no server.
#include <filesystem>

#include "fs/mount/mount.h"
#include "vrpc/client.h"

namespace prism::mount {

Outcome<void> RunMount(const MountOptions& options) {
  std::error_code error;
  // The background process works in another directory.
  std::string lane_path = std::filesystem::absolute(options.lane_path, error).string();
  if (error) return ExplainErrno(error.value(), options.lane_path);
  vrpc::ConnectOptions connect_options{.volume = options.volume};
  return RunMountOver(
      options, [&](DisconnectHandler on_disconnect) -> Outcome<std::shared_ptr<fs::FileSystem>> {
        PRISM_ASSIGN(std::shared_ptr<vrpc::Client> client,
                     vrpc::Client::Connect(lane_path, connect_options));
        client->SetDisconnectCallback([on_disconnect = std::move(on_disconnect)] {
          on_disconnect("it ended, or closed the lane");
        });
        return std::shared_ptr<fs::FileSystem>(std::move(client));
      });
}

}  // namespace prism::mount
