// The device as sysfs shows it, by a directory that looks the same; tests/guest has the real one.
#include "vrpc/device_endpoint.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"
#include "vrpc/segment.h"

namespace prism::vrpc {
namespace {

namespace stdfs = std::filesystem;

constexpr size_t kMemoryBytes = 1 << 16;

class DeviceEndpointTest : public ::testing::Test {
 protected:
  stdfs::path Add(const std::string& address, const std::string& device = "0x1110") {
    const stdfs::path path = devices() / address;
    stdfs::create_directories(path);
    std::ofstream(path / "vendor") << "0x1af4\n";
    std::ofstream(path / "device") << device << "\n";
    std::ofstream(path / "enable") << "0\n";
    for (auto [name, bytes] : {std::pair("resource0", size_t{4096}), {"resource2", kMemoryBytes}}) {
      std::ofstream(path / name).flush();
      stdfs::resize_file(path / name, bytes);
    }
    return path;
  }
  static void Bind(const stdfs::path& device, const std::string& driver) {
    stdfs::create_directory_symlink("../../../bus/pci/drivers/" + driver, device / "driver");
  }
  stdfs::path devices() const { return stdfs::path(directory_.path()) / "devices"; }
  std::vector<PciDevice> List() const {
    auto listed = ListIvshmemDevices(devices());
    EXPECT_TRUE(listed.has_value());
    return listed.value_or(std::vector<PciDevice>{});
  }

 private:
  test::TempDir directory_;
};

TEST_F(DeviceEndpointTest, AMachineWithoutPciHasNone) { EXPECT_TRUE(List().empty()); }

TEST_F(DeviceEndpointTest, ListsIvshmemDevicesByAddress) {
  Add("0000:00:04.0");
  Add("0000:00:02.0", "0x1041");  // a network card
  Bind(Add("0000:00:03.0"), kVfioDriver);
  auto found = List();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].address, "0000:00:03.0");
  EXPECT_EQ(found[0].driver, kVfioDriver);
  EXPECT_EQ(found[1].address, "0000:00:04.0");
  EXPECT_EQ(found[1].driver, "");
  EXPECT_EQ(found[1].iommu_group, "");
  EXPECT_EQ(found[1].memory_bytes, kMemoryBytes);
}

TEST_F(DeviceEndpointTest, MapsMemoryAndDoorbell) {
  const stdfs::path path = Add("0000:00:04.0");
  auto endpoint = DeviceEndpoint::OpenBySysfs(List().at(0));
  ASSERT_TRUE(endpoint.has_value()) << endpoint.error().message;
  EXPECT_EQ((*endpoint)->memory().size(), kMemoryBytes);
  EXPECT_EQ((*endpoint)->EventFd(0), -1);
  EXPECT_EQ((*endpoint)->lifeline(), -1);
  EXPECT_FALSE((*endpoint)->memory_is_pages());
  (*endpoint)->memory()[5000] = std::byte{7};
  (*endpoint)->Ring(0x1234, 0x56);
  std::ifstream registers(path / "resource0"), memory(path / "resource2"), enable(path / "enable");
  uint32_t words[4];
  registers.read(reinterpret_cast<char*>(words), sizeof words);
  EXPECT_EQ(words[3], 0x12340056u);
  memory.seekg(5000);
  EXPECT_EQ(memory.get(), 7);
  EXPECT_EQ(enable.get(), '1');
  (*endpoint)->RingServer(9);
  registers.seekg(0);
  registers.read(reinterpret_cast<char*>(words), sizeof words);
  EXPECT_EQ(words[3], 9u);
}

TEST_F(DeviceEndpointTest, EachOfTheMachinesMountsHasALane) {
  Add("0000:00:04.0");
  auto first = DeviceEndpoint::OpenBySysfs(List().at(0));
  auto second = DeviceEndpoint::OpenBySysfs(List().at(0));
  ASSERT_TRUE(first && second);
  EXPECT_EQ((*first)->ClaimLane(2).value_or(9), 0u);
  EXPECT_EQ((*second)->ClaimLane(1).error().code, Err::kBusy);
  EXPECT_EQ((*second)->ClaimLane(2).value_or(9), 1u);
  first->reset();  // gives it back
  auto third = DeviceEndpoint::OpenBySysfs(List().at(0));
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ((*third)->ClaimLane(2).value_or(9), 0u);
}

TEST_F(DeviceEndpointTest, ADriversDeviceIsLeftAlone) {
  Bind(Add("0000:00:04.0"), "uio_pci_generic");
  EXPECT_EQ(DeviceEndpoint::OpenBySysfs(List().at(0)).error().code, Err::kBusy);
}

TEST_F(DeviceEndpointTest, WithoutAnIommuThereAreNoInterrupts) {
  Add("0000:00:04.0");
  EXPECT_EQ(DeviceEndpoint::OpenByVfio(List().at(0)).error().code, Err::kNotSupported);
}

TEST_F(DeviceEndpointTest, ADeviceWithoutMemoryIsNoLane) {
  const stdfs::path path = Add("0000:00:04.0");
  stdfs::remove(path / "resource2");
  EXPECT_EQ(DeviceEndpoint::OpenBySysfs(List().at(0)).error().code, Err::kProtocol);
}

}  // namespace
}  // namespace prism::vrpc
