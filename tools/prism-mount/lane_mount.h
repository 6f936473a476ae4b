// The way to a volume over the lane of an ivshmem device.
#pragma once

#include "fs/base/failure.h"
#include "fs/mount/mount.h"
#include "vrpc/device_endpoint.h"

namespace prism::guest {

struct LaneMountOptions {
  mount::MountOptions mount;  // without a lane_path
  vrpc::DeviceOptions device;
};

// There is a device with lanes, or one that cannot be examined: then MountByLane says why.
Outcome<bool> HasLane(const vrpc::DeviceOptions& options);

// As mount::RunMount.
Outcome<void> MountByLane(const LaneMountOptions& options);

// The devices and what they are, on stdout.
Outcome<void> PrintDevices();

}  // namespace prism::guest
