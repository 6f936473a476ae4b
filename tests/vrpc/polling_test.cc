// A client without eventfds and without a lifeline, as in a guest that has mapped the device and
// no more: it polls the memory, and all that it learns of its end is the epoch.
#include <poll.h>
#include <time.h>

#include "tests/vrpc/lane_fixture.h"
#include "vrpc/socket_endpoint.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

// The channel of a socket, without what a guest does not have.
class MappedEndpoint final : public Endpoint {
 public:
  explicit MappedEndpoint(std::shared_ptr<Endpoint> channel, uint32_t lane)
      : channel_(std::move(channel)), lane_(lane) {}
  std::span<std::byte> memory() const override { return channel_->memory(); }
  void RingServer(uint32_t vector) override { channel_->RingServer(vector); }
  int EventFd(uint32_t) const override { return -1; }
  int lifeline() const override { return -1; }
  Outcome<uint32_t> ClaimLane(uint32_t lanes) override {
    if (lane_ >= lanes) return Explain(Err::kBusy, "all lanes are in use");
    return lane_;
  }

 private:
  const std::shared_ptr<Endpoint> channel_;
  const uint32_t lane_;
};

class PollingTest : public LaneFixture {
 protected:
  void SetUp() override {
    StartServer();
    std::string vm = directory_ + "/vm";
    ASSERT_TRUE(server_->AddPort({.name = "vm",
                                  .path = vm,
                                  .uid = ::geteuid(),
                                  .geometry = {.lanes = 3, .queues = 2},
                                  .opener = EchoOpener(),
                                  .single = true}));
    auto channel = SocketEndpoint::Connect(vm, std::chrono::steady_clock::now() + 5s);
    ASSERT_TRUE(channel) << channel.error().message;
    channel_ = std::move(*channel);
  }
  Outcome<std::shared_ptr<Client>> TryMap(uint32_t lane, ConnectOptions options = {}) {
    options.volume = "v";
    return Client::Connect(
        [&](Deadline) -> Outcome<std::unique_ptr<Endpoint>> {
          return std::make_unique<MappedEndpoint>(channel_, lane);
        },
        options);
  }
  std::shared_ptr<Client> Map(uint32_t lane, ConnectOptions options = {}) {
    auto client = TryMap(lane, std::move(options));
    EXPECT_TRUE(client) << client.error().message;
    return client ? *client : nullptr;
  }
  std::optional<LaneInfo> Info(uint32_t lane) {
    for (const LaneInfo& info : server_->Lanes())
      if (info.port == "vm" && info.lane == lane) return info;
    return std::nullopt;
  }
  std::shared_ptr<Endpoint> channel_;
};

TEST_F(PollingTest, CallsFromManyThreadsOnSeveralLanes) {
  std::vector<std::shared_ptr<Client>> clients = {Map(0), Map(2, {.spin_us_max = 0})};
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      Client& client = *clients[t % 2];
      std::vector<std::byte> buffer(512);
      for (uint32_t i = 0; i < 200; ++i) {
        InodeId ino = 1000 + t * 1000 + i;
        auto attr = client.Getattr({}, ino);
        ASSERT_TRUE(attr);
        ASSERT_EQ(*attr, EchoAttr(ino));
        ASSERT_TRUE(client.Read({}, 512, ino, buffer));
        for (size_t b = 0; b < buffer.size(); ++b)
          ASSERT_EQ(buffer[b], static_cast<std::byte>((ino + b) * 7));
      }
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(TryMap(3).error().code, Err::kBusy);
}

class Counter : public fs::EventListener {
 public:
  void OnEvent(const fs::Event& event) override {
    if (event.kind == fs::Event::Kind::kAll) ++all_;
    ++events_;
  }
  std::atomic<int> events_ = 0, all_ = 0;
};

TEST_F(PollingTest, EventsArriveWithAndWithoutCalls) {
  auto client = Map(1);
  Counter counter;
  client->SetListener(&counter);
  echo()->Send({fs::Event::Kind::kInode, 5, ""});
  EXPECT_TRUE(Soon([&] { return counter.events_ == 1; }));
  for (int i = 0; i < 3000; ++i) echo()->Send({fs::Event::Kind::kInode, 5, ""});
  EXPECT_TRUE(client->Null());
  EXPECT_TRUE(Soon([&] { return counter.all_ == 1; }));
  // A reply is a reason to look: long before the watcher would by itself, most times.
  int prompt = 0;
  for (int i = 0; i < 20; ++i) {
    int before = counter.events_;
    echo()->Send({fs::Event::Kind::kInode, 6, ""});
    EXPECT_TRUE(client->Null());
    if (Soon([&] { return counter.events_ > before; }, 15ms)) ++prompt;
    EXPECT_TRUE(Soon([&] { return counter.events_ > before; }));
  }
  EXPECT_GT(prompt, 10);
  client->SetListener(nullptr);
}

TEST_F(PollingTest, ASlowCallDoesNotBurnTheProcessor) {
  auto client = Map(0);
  std::thread blocked([&] { EXPECT_TRUE(client->Fsync({}, EchoFs::kBlockingInode, false)); });
  echo()->AwaitBlocked(1);
  auto cpu_ms = [] {
    timespec time{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return time.tv_sec * 1000 + time.tv_nsec / 1'000'000;
  };
  auto before = cpu_ms();
  std::this_thread::sleep_for(500ms);
  EXPECT_LT(cpu_ms() - before, 150);
  echo()->Unblock();
  blocked.join();
}

TEST_F(PollingTest, ADropIsNoticedByThoseWhoWaitAndThoseWhoDoNot) {
  auto busy = Map(0), idle = Map(1), other = Map(2);
  std::atomic<int> told = 0;
  busy->SetDisconnectCallback([&] { ++told; });
  idle->SetDisconnectCallback([&] { ++told; });
  EchoFs* blocking = echoes()[0].get();
  std::thread blocked([&] {
    EXPECT_EQ(busy->Fsync({}, EchoFs::kBlockingInode, false).error(), Err::kDisconnected);
  });
  blocking->AwaitBlocked(1);
  EXPECT_TRUE(server_->Drop(Info(0)->id));
  EXPECT_TRUE(server_->Drop(Info(1)->id));
  blocked.join();
  EXPECT_TRUE(Soon([&] { return told == 2; }));
  EXPECT_EQ(idle->Null().error(), Err::kDisconnected);
  EXPECT_TRUE(other->Null());
  blocking->Unblock();
  // The lanes may be used again.
  EXPECT_TRUE(Map(0)->Null());
  EXPECT_TRUE(Map(1)->Null());
}

TEST_F(PollingTest, GoodByeEndsTheSessionWithoutAnEndOfTheChannel) {
  int before = EchoFs::alive;
  auto client = Map(1);
  EXPECT_EQ(EchoFs::alive, before + 1);
  bool called = false;
  client->SetDisconnectCallback([&] { called = true; });
  client.reset();
  EXPECT_EQ(EchoFs::alive, before);  // when it returns
  EXPECT_FALSE(Info(1)->attached);
  EXPECT_EQ(Info(1)->drops, 0u);
  EXPECT_FALSE(called);
  EXPECT_TRUE(Map(1)->Null());
}

TEST_F(PollingTest, ARefusalComesInWords) {
  ConnectOptions options;
  options.volume = "absent";
  auto refused = Client::Connect(
      [&](Deadline) -> Outcome<std::unique_ptr<Endpoint>> {
        return std::make_unique<MappedEndpoint>(channel_, 0);
      },
      options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().message, "no volume 'absent'");
  // Nobody is there to answer.
  server_->Stop();
  EXPECT_EQ(TryMap(0, {.timeout_ms = 100}).error().code, Err::kTimedOut);
}

}  // namespace
}  // namespace prism::vrpc
