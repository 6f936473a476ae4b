// A FUSE mount of a volume in this process, as a client of the suite; for each driver whose clients
// are mounts.
#pragma once

#include <memory>
#include <string>

#include "fs/mount/mount_session.h"
#include "tests/conformance/driver.h"
#include "tests/conformance/mounted_file_system.h"
#include "tests/mount/counting_file_system.h"

namespace prism::conformance {

// The file system that speaks through the mount, and below it the lane, which is watched for
// releases only.
class MountedClient {
 public:
  // Makes the directory, and removes it in the end.
  MountedClient(const std::string& directory, std::shared_ptr<fs::FileSystem> lane,
                std::string_view volume);
  ~MountedClient();
  fs::FileSystem& file_system() { return *mounted_; }

 private:
  bool AwaitRelease(InodeId ino);

  std::shared_ptr<mount::CountingFileSystem> lane_;
  std::unique_ptr<mount::MountSession> session_;
  std::unique_ptr<MountedFileSystem> mounted_;
};

// What every mount can say.
bool CanThroughMount(Feature feature);
// Every inode that the suite knows is a descriptor.
void RaiseDescriptorLimit();

}  // namespace prism::conformance
