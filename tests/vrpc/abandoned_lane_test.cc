// Sessions that a machine has left behind, by a reset or the killing of a process: whoever mounts
// next ends them, and those of living mounts alone.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include <set>

#include "tests/vrpc/lane_fixture.h"
#include "tests/vrpc/raw_lane.h"
#include "vrpc/device_endpoint.h"

namespace prism::vrpc {
namespace {

// A device of which every process has a mapping and an open file of its own.
class MappedDevice final : public DeviceEndpoint {
 public:
  static Outcome<std::unique_ptr<Endpoint>> Open(std::shared_ptr<RawLane::Parts> channel) {
    const std::string path = fmt::format("/proc/self/fd/{}", channel->segment->fd());
    UniqueFd file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    const size_t bytes = channel->segment->memory().size();
    void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    PRISM_CHECK(base != MAP_FAILED);
    return std::unique_ptr<Endpoint>(
        new MappedDevice(std::move(file), {static_cast<std::byte*>(base), bytes}, channel));
  }
  void Ring(uint16_t, uint16_t vector) override { vrpc::Ring(channel_->to_server[vector].get()); }
  int EventFd(uint32_t) const override { return -1; }

 private:
  MappedDevice(UniqueFd file, std::span<std::byte> memory, std::shared_ptr<RawLane::Parts> channel)
      : DeviceEndpoint(std::move(file), memory), channel_(std::move(channel)) {}

  const std::shared_ptr<RawLane::Parts> channel_;
};

class AbandonedLaneTest : public LaneFixture {
 protected:
  void SetUp() override {
    StartServer();
    ASSERT_TRUE(server_->AddPort({.name = "vm",
                                  .path = directory_ + "/vm",
                                  .uid = ::geteuid(),
                                  .geometry = {.lanes = 4, .queues = 2},
                                  .opener = EchoOpener(),
                                  .single = true}));
    machine_ = RawLane::Connect(directory_ + "/vm");
  }
  // Begins a session that nobody claims, as one that a reset has cut short.
  void Abandon(uint32_t lane) {
    ASSERT_EQ(machine_->Lane(lane).Greet(RawLane::FullHello()), Err::kOk);
  }
  std::shared_ptr<Client> Mount() {
    auto client =
        Client::Connect([this](Deadline) { return MappedDevice::Open(machine_->channel); },
                        ConnectOptions{.volume = "v"});
    EXPECT_TRUE(client) << client.error().message;
    return client ? *client : nullptr;
  }
  using Lanes = std::set<uint32_t>;
  Lanes Attached() {
    Lanes attached;
    for (const LaneInfo& info : server_->Lanes())
      if (info.port == "vm" && info.attached) attached.insert(info.lane);
    return attached;
  }
  std::optional<RawLane> machine_;
};

TEST_F(AbandonedLaneTest, TheNextMountEndsWhatABootHasLeftBehind) {
  for (uint32_t lane : {0u, 1u, 3u}) Abandon(lane);
  EXPECT_EQ(Attached(), (Lanes{0, 1, 3}));
  std::shared_ptr<Client> client = Mount();
  EXPECT_EQ(Attached(), (Lanes{0}));
  EXPECT_TRUE(client->Null());
  EXPECT_EQ(echoes().size(), 1u);  // what the others held is free
}

TEST_F(AbandonedLaneTest, WhoIsStillThereIsLeftAlone) {
  std::shared_ptr<Client> first = Mount();
  std::shared_ptr<Client> second = Mount();
  Abandon(2);
  Abandon(3);
  std::shared_ptr<Client> third = Mount();
  EXPECT_EQ(Attached(), (Lanes{0, 1, 2}));
  for (const auto& client : {first, second, third}) EXPECT_TRUE(client->Null());
  for (const LaneInfo& info : server_->Lanes())
    if (info.port == "vm") EXPECT_EQ(info.sessions, info.lane == 2 ? 2u : 1u);
}

}  // namespace
}  // namespace prism::vrpc
