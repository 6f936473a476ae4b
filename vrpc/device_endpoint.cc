#include "vrpc/device_endpoint.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "vrpc/handshake.h"
#include "vrpc/segment.h"

namespace prism::vrpc {
namespace {

namespace stdfs = std::filesystem;

constexpr size_t kRegisterBytes = 256;
constexpr size_t kDoorbellRegister = 12;                // peer << 16 | vector, 32 bits
constexpr std::chrono::milliseconds kByesTimeout{500};  // for all lanes that were left behind

std::string FirstWord(const std::string& path) {
  std::ifstream file(path);
  std::string word;
  file >> word;
  return word;
}

// The last part of what a link leads to; empty if there is none.
std::string TargetName(const std::string& link) {
  std::error_code error;
  return stdfs::read_symlink(link, error).filename().string();
}

PciDevice Describe(const stdfs::path& directory) {
  PciDevice device{.directory = directory.string(),
                   .address = directory.filename().string(),
                   .driver = TargetName(directory / "driver"),
                   .iommu_group = TargetName(directory / "iommu_group")};
  std::error_code error;
  const uint64_t bytes = stdfs::file_size(directory / "resource2", error);
  device.memory_bytes = error ? 0 : bytes;
  return device;
}

Outcome<void> Enable(const PciDevice& device) {
  const std::string path = device.directory + "/enable";
  UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd || ::write(fd.get(), "1", 1) != 1)
    return ExplainErrno(errno, "cannot enable the device " + device.address);
  return {};
}

struct Resource {
  UniqueFd fd;
  std::span<std::byte> bytes;
};

Outcome<Resource> MapResource(const PciDevice& device, int bar, size_t bytes) {
  const std::string path = device.directory + "/resource" + std::to_string(bar);
  Resource resource{.fd = UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC))};
  if (!resource.fd) return ExplainErrno(errno, path);
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, resource.fd.get(), 0);
  if (base == MAP_FAILED) return ExplainErrno(errno, "cannot map " + path);
  // A child would be a second process at the same end of the rings.
  ::madvise(base, bytes, MADV_DONTFORK);
  resource.bytes = {static_cast<std::byte*>(base), bytes};
  return resource;
}

struct flock LockOf(uint32_t lane, short type) {
  return {.l_type = type, .l_whence = SEEK_SET, .l_start = lane, .l_len = 1, .l_pid = 0};
}

class SysfsEndpoint final : public DeviceEndpoint {
 public:
  SysfsEndpoint(UniqueFd file, std::span<std::byte> memory, std::span<std::byte> registers)
      : DeviceEndpoint(std::move(file), memory), registers_(registers) {}
  ~SysfsEndpoint() override { ::munmap(registers_.data(), registers_.size()); }

  void Ring(uint16_t peer, uint16_t vector) override {
    auto* doorbell = reinterpret_cast<volatile uint32_t*>(registers_.data() + kDoorbellRegister);
    *doorbell = uint32_t{peer} << 16 | vector;
  }
  int EventFd(uint32_t) const override { return -1; }

 private:
  std::span<std::byte> registers_;
};

}  // namespace

DeviceEndpoint::~DeviceEndpoint() { ::munmap(memory_.data(), memory_.size()); }

EndpointFactory DeviceEndpoint::FactoryFor(DeviceOptions options) {
  return [options = std::move(options)](Deadline) -> Outcome<std::unique_ptr<Endpoint>> {
    PRISM_ASSIGN(auto devices, ListIvshmemDevices());
    if (!options.address.empty())
      std::erase_if(devices, [&](const auto& device) { return device.address != options.address; });
    Failure failure{Err::kNoEntry, "this machine has no such ivshmem device"};
    for (const PciDevice& device : devices) {
      auto endpoint = Open(device, options.wait);
      if (!endpoint) {
        failure = std::move(endpoint).error();
      } else if (auto geometry = CheckHeader((*endpoint)->memory()); !geometry) {
        failure = std::move(geometry).error();
      } else {
        return std::unique_ptr<Endpoint>(std::move(*endpoint));
      }
    }
    return tl::unexpected(std::move(failure));
  };
}

Outcome<std::unique_ptr<DeviceEndpoint>> DeviceEndpoint::Open(const PciDevice& device, Wait wait) {
  const bool by_vfio =
      wait == Wait::kInterrupt || (wait == Wait::kAuto && device.driver == kVfioDriver);
  return by_vfio ? OpenByVfio(device) : OpenBySysfs(device);
}

Outcome<uint32_t> DeviceEndpoint::ClaimLane(uint32_t lanes) {
  for (uint32_t lane = 0; lane < lanes; ++lane) {
    PRISM_ASSIGN(const bool claimed, TryClaim(lane));
    if (!claimed) continue;
    EndAbandoned(lane);
    return lane;
  }
  return Explain(Err::kBusy, "all {} lanes of the device are in use in this machine", lanes);
}

Outcome<bool> DeviceEndpoint::TryClaim(uint32_t lane) {
  struct flock lock = LockOf(lane, F_WRLCK);
  if (::fcntl(file_.get(), F_OFD_SETLK, &lock) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return ExplainErrno(errno, "cannot claim a lane");
}

void DeviceEndpoint::EndAbandoned(uint32_t own) {
  const auto geometry = CheckHeader(memory_);
  if (!geometry) return;
  const Deadline deadline = std::chrono::steady_clock::now() + kByesTimeout;
  for (uint32_t index = 0; index < geometry->lanes; ++index) {
    const LaneMemory lane(memory_.data(), *geometry, index);
    if (index == own || !HasSession(lane)) continue;
    const auto claimed = TryClaim(index);
    if (!claimed || !*claimed) continue;
    // Where nobody answers in time, the server does later what it was told.
    if (HasSession(lane)) (void)SayBye(*this, lane, geometry->handshake_vector(index), deadline);
    struct flock lock = LockOf(index, F_UNLCK);
    ::fcntl(file_.get(), F_OFD_SETLK, &lock);
  }
}

Outcome<std::vector<PciDevice>> ListIvshmemDevices(const std::string& devices) {
  std::error_code error;
  std::vector<PciDevice> found;
  for (const auto& entry : stdfs::directory_iterator(devices, error)) {
    if (FirstWord(entry.path() / "vendor") == "0x1af4" &&
        FirstWord(entry.path() / "device") == "0x1110")
      found.push_back(Describe(entry.path()));
  }
  // A machine without PCI has no such directory.
  if (error && error != std::errc::no_such_file_or_directory)
    return ExplainErrno(error.value(), devices);
  std::sort(found.begin(), found.end(),
            [](const PciDevice& a, const PciDevice& b) { return a.address < b.address; });
  return found;
}

Outcome<std::unique_ptr<DeviceEndpoint>> DeviceEndpoint::OpenBySysfs(const PciDevice& device) {
  if (!device.driver.empty())
    return Explain(Err::kBusy, "the driver {} has the device {}", device.driver, device.address);
  if (device.memory_bytes == 0)
    return Explain(Err::kProtocol, "the device {} has no shared memory", device.address);
  PRISM_TRY(Enable(device));
  PRISM_ASSIGN(Resource memory, MapResource(device, 2, device.memory_bytes));
  auto registers = MapResource(device, 0, kRegisterBytes);
  if (!registers) {
    ::munmap(memory.bytes.data(), memory.bytes.size());
    return tl::unexpected(std::move(registers).error());
  }
  return std::make_unique<SysfsEndpoint>(std::move(memory.fd), memory.bytes, registers->bytes);
}

}  // namespace prism::vrpc
