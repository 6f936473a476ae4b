#include "tools/prism-mount/lane_mount.h"

#include <fmt/format.h>

#include "vrpc/segment.h"

namespace prism::guest {
namespace {

std::string DescribeLanes(const vrpc::PciDevice& device) {
  auto endpoint = vrpc::DeviceEndpoint::Open(device, vrpc::Wait::kAuto);
  if (!endpoint) return endpoint.error().message;
  auto geometry = vrpc::CheckHeader((*endpoint)->memory());
  if (!geometry) return "no lane: " + geometry.error().message;
  return fmt::format("{} lanes of {} queues", geometry->lanes, geometry->queues);
}

}  // namespace

Outcome<bool> HasLane(const vrpc::DeviceOptions& options) {
  PRISM_ASSIGN(const auto devices, vrpc::ListIvshmemDevices());
  for (const vrpc::PciDevice& device : devices) {
    auto endpoint = vrpc::DeviceEndpoint::Open(device, options.wait);
    if (!endpoint || vrpc::CheckHeader((*endpoint)->memory())) return true;
  }
  return false;
}

Outcome<void> MountByLane(const LaneMountOptions& options) {
  return mount::RunMountOverLane(
      options.mount, [&] { return vrpc::DeviceEndpoint::FactoryFor(options.device); });
}

Outcome<void> PrintDevices() {
  PRISM_ASSIGN(const auto devices, vrpc::ListIvshmemDevices());
  for (const vrpc::PciDevice& device : devices)
    fmt::print("{}  {} MiB  driver {}  {}\n", device.address, device.memory_bytes >> 20,
               device.driver.empty() ? "none" : device.driver, DescribeLanes(device));
  if (devices.empty()) fmt::print("this machine has no ivshmem device\n");
  return {};
}

}  // namespace prism::guest
