// A channel by an ivshmem device (QEMU docs/specs/ivshmem-spec.rst, revision 1) of the machine that
// we run in: from user space, with what every Linux has, and no module of ours.
//
// BAR 0 are the registers, of which only the doorbell matters; BAR 1 the MSI-X table, which is the
// kernel's; BAR 2 is the shared memory. There are two ways to it, both for root alone:
//   sysfs  maps the BARs of a device without a driver. There are no interrupts: who waits, polls.
//          Any number of processes, a lane each.
//   VFIO   has interrupts, as eventfds. It needs an IOMMU in the machine and the driver vfio-pci,
//          and gives the device to one process at a time.
// The kernel maps a device's memory uncached. Under KVM on Intel's processors the host overrules
// that; elsewhere each access costs what one to a device costs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/endpoint.h"

namespace prism::vrpc {

inline constexpr char kPciDevices[] = "/sys/bus/pci/devices";
inline constexpr char kVfioDriver[] = "vfio-pci";

// What sysfs says about a device.
struct PciDevice {
  std::string directory;    // "/sys/bus/pci/devices/0000:00:03.0"
  std::string address;      // "0000:00:03.0"
  std::string driver;       // that has it; empty: none
  std::string iommu_group;  // a number; empty: there is no IOMMU for it
  uint64_t memory_bytes = 0;
};

// The ivshmem devices, by address. `devices` is another directory in tests.
Outcome<std::vector<PciDevice>> ListIvshmemDevices(const std::string& devices = kPciDevices);

enum class Wait : uint8_t {
  kAuto,  // by interrupt if the device is vfio-pci's already, else by polling
  kPoll,
  kInterrupt,
};

struct DeviceOptions {
  std::string address;  // of the device; empty: the first one that holds a segment
  Wait wait = Wait::kAuto;
};

class DeviceEndpoint : public Endpoint {
 public:
  // The device is found each time. Errors: kNoEntry (there is none, or none with a segment), and
  // those of Open.
  static EndpointFactory FactoryFor(DeviceOptions options);
  // One of the two below.
  static Outcome<std::unique_ptr<DeviceEndpoint>> Open(const PciDevice& device, Wait wait);
  // Enables the device and maps it. kBusy: a driver has it. The kernel's own refusals: not root, a
  // kernel that is locked down.
  static Outcome<std::unique_ptr<DeviceEndpoint>> OpenBySysfs(const PciDevice& device);
  // Gives the device to vfio-pci, where it then stays, if it is not there yet. kNotSupported: no
  // IOMMU for it, or no such driver; kBusy: another driver or process has it.
  static Outcome<std::unique_ptr<DeviceEndpoint>> OpenByVfio(const PciDevice& device);

  ~DeviceEndpoint() override;
  DeviceEndpoint(const DeviceEndpoint&) = delete;
  DeviceEndpoint& operator=(const DeviceEndpoint&) = delete;

  std::span<std::byte> memory() const override { return memory_; }
  // Its memory has no pages that the kernel could take hold of.
  bool memory_is_pages() const override { return false; }
  // The server is peer 0.
  void RingServer(uint32_t vector) override { Ring(0, static_cast<uint16_t>(vector)); }
  int lifeline() const override { return -1; }
  // By a lock on a file of the device, which is the same for every process of this machine. Says
  // good-bye for lanes that nobody has claimed and that have a session: of a process that was
  // killed, or of the machine's boot before this one. What those held would be kept from all
  // others.
  Outcome<uint32_t> ClaimLane(uint32_t lanes) override;

  // Rings a vector of a peer; nothing happens if there is none.
  virtual void Ring(uint16_t peer, uint16_t vector) = 0;

 protected:
  // Takes over: a file of the device, for locks, and the mapping.
  DeviceEndpoint(UniqueFd file, std::span<std::byte> memory)
      : file_(std::move(file)), memory_(memory) {}

 private:
  Outcome<bool> TryClaim(uint32_t lane);
  void EndAbandoned(uint32_t own);

  UniqueFd file_;
  std::span<std::byte> memory_;
};

}  // namespace prism::vrpc
