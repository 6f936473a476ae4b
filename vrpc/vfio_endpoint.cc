// The device by VFIO (Documentation/driver-api/vfio.rst): the container and its group, then the
// device, its regions and its interrupts.
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "vrpc/device_endpoint.h"

namespace prism::vrpc {
namespace {

constexpr off_t kDoorbellRegister = 12;
constexpr uint32_t kVectorsMax = 256;

Outcome<void> WriteFile(const std::string& path, const std::string& text) {
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return ExplainErrno(errno, path);
  return {};
}

// driver_override makes the driver take this device alone, whatever else is like it.
Outcome<void> Bind(const PciDevice& device) {
  if (device.driver == kVfioDriver) return {};
  if (!device.driver.empty())
    return Explain(Err::kBusy, "the driver {} has the device {}", device.driver, device.address);
  PRISM_TRY(WriteFile(device.directory + "/driver_override", kVfioDriver));
  auto bound = WriteFile("/sys/bus/pci/drivers_probe", device.address);
  if (!bound || ::access((device.directory + "/driver").c_str(), F_OK) != 0)
    return Explain(Err::kNotSupported, "{} does not take the device {}: is the module loaded?",
                   kVfioDriver, device.address);
  return {};
}

struct Opened {
  UniqueFd container;
  UniqueFd group;
  UniqueFd device;
};

Outcome<Opened> OpenGroup(const PciDevice& device) {
  Opened opened;
  opened.container = UniqueFd(::open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC));
  if (!opened.container) return ExplainErrno(errno, "/dev/vfio/vfio");
  if (::ioctl(opened.container.get(), VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
    return Explain(Err::kNotSupported, "VFIO finds no IOMMU (is vfio_iommu_type1 loaded?)");
  const std::string path = "/dev/vfio/" + device.iommu_group;
  opened.group = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!opened.group) return ExplainErrno(errno, path);
  vfio_group_status status{.argsz = sizeof status, .flags = 0};
  if (::ioctl(opened.group.get(), VFIO_GROUP_GET_STATUS, &status) != 0)
    return ExplainErrno(errno, path);
  if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
    return Explain(Err::kBusy, "another device of IOMMU group {} has another driver",
                   device.iommu_group);
  int container = opened.container.get();
  if (::ioctl(opened.group.get(), VFIO_GROUP_SET_CONTAINER, &container) != 0 ||
      ::ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU) != 0)
    return ExplainErrno(errno, path);
  opened.device =
      UniqueFd(::ioctl(opened.group.get(), VFIO_GROUP_GET_DEVICE_FD, device.address.c_str()));
  if (!opened.device) return ExplainErrno(errno, path + ": device " + device.address);
  return opened;
}

Outcome<vfio_region_info> Region(int device, uint32_t index) {
  vfio_region_info info{.argsz = sizeof info, .index = index};
  if (::ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) != 0)
    return ExplainErrno(errno, "VFIO: region " + std::to_string(index));
  return info;
}

// VFIO hands a device over with Bus Master off, and without it no MSI is sent.
Outcome<void> StartBusMaster(int device) {
  PRISM_ASSIGN(const vfio_region_info config, Region(device, VFIO_PCI_CONFIG_REGION_INDEX));
  uint16_t command = 0;
  const auto at = static_cast<off_t>(config.offset + PCI_COMMAND);
  if (::pread(device, &command, sizeof command, at) != sizeof command)
    return ExplainErrno(errno, "VFIO: reading the device's command register");
  command |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
  if (::pwrite(device, &command, sizeof command, at) != sizeof command)
    return ExplainErrno(errno, "VFIO: writing the device's command register");
  return {};
}

// One eventfd for each MSI-X vector.
Outcome<std::vector<UniqueFd>> StartInterrupts(int device) {
  vfio_irq_info info{.argsz = sizeof info, .index = VFIO_PCI_MSIX_IRQ_INDEX};
  if (::ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info) != 0 || info.count == 0)
    return Explain(Err::kNotSupported, "the device has no MSI-X vectors");
  const uint32_t count = std::min(info.count, kVectorsMax);
  std::vector<UniqueFd> events;
  std::vector<std::byte> request(sizeof(vfio_irq_set) + count * sizeof(int32_t));
  const vfio_irq_set set{.argsz = static_cast<uint32_t>(request.size()),
                         .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
                         .index = VFIO_PCI_MSIX_IRQ_INDEX,
                         .start = 0,
                         .count = count};
  std::memcpy(request.data(), &set, sizeof set);
  for (uint32_t i = 0; i < count; ++i) {
    events.emplace_back(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!events.back()) return ExplainErrno(errno, "eventfd");
    const int32_t fd = events.back().get();
    std::memcpy(request.data() + sizeof set + i * sizeof fd, &fd, sizeof fd);
  }
  if (::ioctl(device, VFIO_DEVICE_SET_IRQS, request.data()) != 0)
    return ExplainErrno(errno, "VFIO: cannot have the device's interrupts");
  return events;
}

class VfioEndpoint final : public DeviceEndpoint {
 public:
  VfioEndpoint(UniqueFd file, std::span<std::byte> memory, Opened opened, off_t registers,
               std::vector<UniqueFd> events)
      : DeviceEndpoint(std::move(file), memory),
        opened_(std::move(opened)),
        registers_(registers),
        events_(std::move(events)) {}

  // By a system call: VFIO cannot map a region smaller than a page everywhere, and next to what a
  // machine's exit costs it is nothing.
  void Ring(uint16_t peer, uint16_t vector) override {
    const uint32_t value = uint32_t{peer} << 16 | vector;
    [[maybe_unused]] ssize_t written =
        ::pwrite(opened_.device.get(), &value, sizeof value, registers_ + kDoorbellRegister);
  }
  int EventFd(uint32_t vector) const override {
    return vector < events_.size() ? events_[vector].get() : -1;
  }

 private:
  Opened opened_;
  off_t registers_;
  std::vector<UniqueFd> events_;
};

}  // namespace

Outcome<std::unique_ptr<DeviceEndpoint>> DeviceEndpoint::OpenByVfio(const PciDevice& device) {
  if (device.iommu_group.empty())
    return Explain(Err::kNotSupported, "this machine has no IOMMU for the device {}",
                   device.address);
  PRISM_TRY(Bind(device));
  const std::string path = device.directory + "/resource2";
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return ExplainErrno(errno, path);
  PRISM_ASSIGN(Opened opened, OpenGroup(device));
  const int fd = opened.device.get();
  PRISM_TRY(StartBusMaster(fd));
  PRISM_ASSIGN(std::vector<UniqueFd> events, StartInterrupts(fd));
  PRISM_ASSIGN(const vfio_region_info registers, Region(fd, VFIO_PCI_BAR0_REGION_INDEX));
  PRISM_ASSIGN(const vfio_region_info memory, Region(fd, VFIO_PCI_BAR2_REGION_INDEX));
  void* base = ::mmap(nullptr, memory.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                      static_cast<off_t>(memory.offset));
  if (base == MAP_FAILED) return ExplainErrno(errno, "VFIO: cannot map the shared memory");
  ::madvise(base, memory.size, MADV_DONTFORK);
  return std::make_unique<VfioEndpoint>(
      std::move(file), std::span(static_cast<std::byte*>(base), memory.size), std::move(opened),
      static_cast<off_t>(registers.offset), std::move(events));
}

}  // namespace prism::vrpc
