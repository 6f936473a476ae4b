// A virtual machine's port: one connection with several lanes, whose sessions come, go, and are
// dropped without each other's noticing; and which survives its server.
#include <fcntl.h>
#include <poll.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <algorithm>
#include <map>
#include <random>
#include <sstream>

#include "tests/vrpc/lane_fixture.h"
#include "tests/vrpc/raw_lane.h"
#include "vrpc/messages.h"
#include "vrpc/socket_endpoint.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

constexpr Geometry kVm{.lanes = 4, .queues = 2};

// What a holder process does: keeps duplicates.
class TestKeeper final : public FdKeeper {
 public:
  void Put(const std::string& port, std::span<const int> fds) override {
    std::lock_guard lock(mutex_);
    std::vector<UniqueFd>& kept = kept_[port];
    kept.clear();
    for (int fd : fds) kept.emplace_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  }
  void Remove(const std::string& port) override {
    std::lock_guard lock(mutex_);
    kept_.erase(port);
  }
  bool Has(const std::string& port) {
    std::lock_guard lock(mutex_);
    return kept_.contains(port);
  }
  ChannelFds Take(const std::string& port) {
    std::lock_guard lock(mutex_);
    auto fds = ChannelFds::FromList(std::move(kept_.at(port)));
    kept_.erase(port);
    PRISM_CHECK(fds);
    return std::move(*fds);
  }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<UniqueFd>> kept_;
};

class VmPortTest : public LaneFixture {
 protected:
  ~VmPortTest() override { server_.reset(); }  // before the keeper
  void SetUp() override {
    StartServer({.workers = 3});
    AddVmPort();
  }
  void AddVmPort(const Geometry& geometry = kVm) {
    auto added = server_->AddPort({.name = "vm",
                                   .path = vm(),
                                   .uid = ::geteuid(),
                                   .geometry = geometry,
                                   .opener = EchoOpener(),
                                   .single = true,
                                   .fd_keeper = &keeper_});
    ASSERT_TRUE(added) << added.error().message;
  }
  std::string vm() const { return directory_ + "/vm"; }
  std::optional<LaneInfo> Info(uint32_t lane) {
    for (const LaneInfo& info : server_->Lanes())
      if (info.port == "vm" && info.lane == lane) return info;
    return std::nullopt;
  }
  // An empty request as the session's first; its reply's error.
  static int Null(const RawLane& lane) {
    lane.Submit(0, {0, lane.Compose(0, 0, ""), 0, 0});
    return lane.FirstReply(0);
  }
  TestKeeper keeper_;
};

TEST_F(VmPortTest, EachLaneHasASessionOfItsOwn) {
  RawLane first = RawLane::Connect(vm());
  EXPECT_EQ(first.channel->geometry.lanes, 4u);
  EXPECT_EQ(first.channel->segment->memory().size() & (first.channel->segment->memory().size() - 1),
            0u);
  EXPECT_TRUE(Soon([&] { return keeper_.Has("vm"); }));
  for (uint32_t i = 0; i < 4; ++i) {
    RawLane lane = first.Lane(i);
    Hello hello = HelloFor("v" + std::to_string(i));
    hello.client = 100 + i;
    ASSERT_EQ(lane.Greet(hello), Err::kOk);
    EXPECT_EQ(Null(lane), 0);
    auto info = Info(i);
    ASSERT_TRUE(info);
    EXPECT_TRUE(info->attached);
    EXPECT_EQ(info->volume, "v" + std::to_string(i));
    EXPECT_EQ(info->client, 100 + i);
    EXPECT_EQ(info->pid, ::getpid());
    EXPECT_TRUE(Soon([&] { return Info(i)->calls == 1; }));
  }
  Hello bye = HelloFor("");
  bye.flags = kHelloBye;
  EXPECT_EQ(first.Lane(2).Greet(bye), Err::kOk);
  EXPECT_FALSE(Info(2)->attached);
  EXPECT_EQ(Info(2)->calls, 1u);
  EXPECT_TRUE(Info(1)->attached);
  EXPECT_EQ(first.Lane(2).Greet(RawLane::FullHello()), Err::kOk);
  EXPECT_EQ(Null(first.Lane(2)), 0);
  EXPECT_EQ(Info(2)->sessions, 2u);
  EXPECT_EQ(Info(2)->drops, 0u);
}

// More messages than a socket holds.
TEST_F(VmPortTest, ASlowListenerIsToldAllInTheEnd) {
  std::string path = directory_ + "/large";
  constexpr Geometry kLarge{.lanes = 4, .queues = 63};
  ASSERT_EQ(kLarge.vectors(), kVectorsMax);
  EXPECT_FALSE(
      server_->AddPort({.name = "huge", .path = path, .geometry = {.lanes = 5, .queues = 63}}));
  ASSERT_TRUE(server_->AddPort({.name = "large",
                                .path = path,
                                .uid = ::geteuid(),
                                .geometry = kLarge,
                                .opener = EchoOpener(),
                                .single = true,
                                .fd_keeper = &keeper_}));
  RawLane lane = RawLane::Connect(path, 3, 200ms);
  EXPECT_EQ(lane.Greet(RawLane::FullHello()), Err::kOk);
  lane.Submit(62, {0, lane.Compose(62, 0, ""), 0, 0});
  EXPECT_EQ(lane.FirstReply(62), 0);
  EXPECT_TRUE(keeper_.Has("large"));
  // Another one goes before it has heard all.
  lane = RawLane{};
  ASSERT_TRUE(ConnectTo(path, InSeconds(5)));
  EXPECT_EQ(RawLane::Connect(path, 0).Greet(RawLane::FullHello()), Err::kOk);
}

TEST_F(VmPortTest, OneConnectionAtATime) {
  {
    RawLane lane = RawLane::Open(vm());
    auto second = Client::Connect(vm(), {.volume = "v"});
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, Err::kBusy);
    EXPECT_EQ(Null(lane), 0);
  }
  // At once, as when QEMU is started anew.
  auto next = Client::Connect(vm(), {.volume = "v"});
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_TRUE((*next)->Null());
  EXPECT_TRUE((*next)->Getattr({}, 5));
}

TEST_F(VmPortTest, OnlyItsUserMayConnect) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to be somebody else";
  constexpr uid_t kQemu = 64055, kOther = 64056;
  ASSERT_EQ(::chmod(directory_.c_str(), 0755), 0);
  std::string path = directory_ + "/other";
  ASSERT_TRUE(server_->AddPort(
      {.name = "other", .path = path, .uid = kQemu, .opener = EchoOpener(), .single = true}));
  struct stat status {};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_uid, kQemu);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  ASSERT_EQ(::chmod(path.c_str(), 0666), 0);  // the server looks for itself
  auto connects_as = [&](uid_t uid) {
    pid_t child = ::fork();
    if (child == 0) {
      if (::setuid(uid) != 0) ::_exit(100);
      auto endpoint = SocketEndpoint::Connect(path, InSeconds(5));
      ::_exit(endpoint ? 0 : static_cast<int>(endpoint.error().code));
    }
    int result = 0;
    ::waitpid(child, &result, 0);
    return static_cast<Err>(WEXITSTATUS(result));
  };
  EXPECT_EQ(connects_as(kOther), Err::kAccess);
  EXPECT_EQ(connects_as(kQemu), Err::kOk);
}

TEST_F(VmPortTest, ADroppedLaneLeavesTheOthersAlone) {
  RawLane good = RawLane::Open(vm());
  RawLane bad = good.Lane(1);
  ASSERT_EQ(bad.Greet(RawLane::FullHello()), Err::kOk);
  uint64_t epoch = bad.epoch(), good_epoch = good.epoch();
  for (int fd : {bad.notify(), bad.completion(0), bad.completion(1)}) TryClear(fd);
  Shared(bad.memory.queue(0)->submission.tail).store(77);
  bad.Knock(0);
  EXPECT_TRUE(bad.Dropped(epoch));
  EXPECT_TRUE(Soon([&] { return Info(1)->drops == 1; }));
  EXPECT_FALSE(Info(1)->attached);
  EXPECT_NE(Info(1)->drop_reason.find("more entries"), std::string::npos);
  for (int fd : {bad.notify(), bad.completion(0), bad.completion(1)}) {
    pollfd rung{.fd = fd, .events = POLLIN, .revents = 0};
    EXPECT_EQ(::poll(&rung, 1, 1000), 1);
  }
  EXPECT_EQ(good.epoch(), good_epoch);
  EXPECT_EQ(Null(good), 0);
  EXPECT_EQ(bad.Greet(RawLane::FullHello()), Err::kOk);
  EXPECT_EQ(Null(bad), 0);
  // And by request.
  EXPECT_TRUE(server_->Drop(Info(0)->id));
  EXPECT_TRUE(good.Dropped(good_epoch));
  EXPECT_FALSE(server_->Drop(Info(0)->id));
  EXPECT_TRUE(Info(1)->attached);
}

TEST_F(VmPortTest, ARebootWaitsForWhoIsInsideAndNobodyElseWaits) {
  RawLane lane = RawLane::Open(vm());
  EchoFs* blocking = echo();
  int alive = EchoFs::alive;
  std::string body;
  Encoder(body).Put(FsyncRequest{EchoFs::kBlockingInode, false});
  lane.Submit(0, {0, lane.Compose(0, static_cast<uint16_t>(Op::kFsync), body), 0, 0});
  blocking->AwaitBlocked(1);
  uint32_t seq = lane.PutHello(RawLane::FullHello());
  // The others' handshakes do not wait for this one.
  EXPECT_EQ(lane.Lane(1).Greet(RawLane::FullHello()), Err::kOk);
  EXPECT_TRUE(Connect()->Null());
  EXPECT_NE(lane.answered(), seq);
  EXPECT_EQ(Shared(lane.memory.queue(0)->submission.tail).load(), 1u);  // not reset
  blocking->Unblock();
  EXPECT_TRUE(Soon([&] { return lane.answered() == seq; }));
  EXPECT_EQ(Shared(lane.memory.queue(0)->submission.tail).load(), 0u);
  EXPECT_EQ(Null(lane), 0);
  EXPECT_TRUE(Soon([&] { return EchoFs::alive == alive + 1; }));  // one more lane, no old session
  EXPECT_EQ(Info(0)->sessions, 2u);
}

TEST_F(VmPortTest, StormsAreRationed) {
  RawLane lane = RawLane::Open(vm());
  std::atomic<bool> stop = false;
  std::thread hellos([&] {
    while (!stop) {
      lane.PutHello(RawLane::FullHello());
      std::this_thread::sleep_for(50us);
    }
  });
  std::thread doorbells([&] {
    RawLane other = lane.Lane(1);
    while (!stop) {
      other.KnockHello();
      other.Knock(0);
    }
  });
  auto start = std::chrono::steady_clock::now();
  uint32_t connects = 0;
  while (std::chrono::steady_clock::now() < start + 1500ms) {
    auto began = std::chrono::steady_clock::now();
    auto client = Connect();
    ASSERT_TRUE(client->Null());
    EXPECT_LT(std::chrono::steady_clock::now() - began, 1s);
    ++connects;
  }
  stop = true;
  hellos.join();
  doorbells.join();
  EXPECT_GT(connects, 10u);
  EXPECT_GE(Info(0)->sessions, 2u);
  EXPECT_LE(Info(0)->sessions, 40u);  // 16 at once, and 8 a second
  // Whoever has waited long enough is heard.
  EXPECT_EQ(lane.Lane(2).Greet(RawLane::FullHello()), Err::kOk);
}

TEST_F(VmPortTest, ItsLinesInTheLogAreRationed) {
  std::ostringstream log;
  const auto before = spdlog::default_logger();
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  RawLane lane = RawLane::Connect(vm());
  Hello refused = HelloFor("absent");
  refused.client = 1;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(lane.Greet(refused), Err::kNoEntry);
    uint64_t epoch = lane.epoch();
    ASSERT_EQ(lane.Greet(RawLane::FullHello()), Err::kOk);
    lane.Submit(0, {99, 0, 0, 0});
    EXPECT_TRUE(lane.Dropped(epoch));
  }
  server_.reset();  // with which nobody logs any more
  spdlog::set_default_logger(before);
  const std::string lines = log.str();
  EXPECT_NE(lines.find("is dropped: slot 99 of 2"), std::string::npos) << lines;
  EXPECT_LE(std::count(lines.begin(), lines.end(), '\n'), 10) << lines;
}

TEST_F(VmPortTest, WhatTheGuestOverwritesMisleadsOnlyItself) {
  RawLane lane = RawLane::Open(vm());
  RawLane other = lane.Lane(3);
  ASSERT_EQ(other.Greet(RawLane::FullHello()), Err::kOk);
  std::span<std::byte> memory = lane.channel->segment->memory();
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    // The header, and the handshake page of lane 0 with epoch and answer, but for hello_seq.
    for (size_t at = 0; at < 2 * kPageBytes; ++at)
      if (at < kPageBytes || at >= kPageBytes + 4) memory[at] = static_cast<std::byte>(random());
    lane.KnockHello();
    if (round % 20 == 0) {
      other.memory.queue(1)->submission.head.value = static_cast<uint32_t>(random());
      Shared(other.memory.queue(1)->submission.sleeps).store(static_cast<uint32_t>(random()));
    }
  }
  EXPECT_EQ(Null(other), 0);
  // A guest that rebooted reads a wrong epoch; its Hello makes the server tell the right one.
  Hello hello = RawLane::FullHello();
  Deadline end = InSeconds(10);
  uint64_t epoch = lane.epoch();
  uint32_t seq = lane.PutHello(hello);
  while (lane.epoch() == epoch && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(1ms);
  EXPECT_NE(lane.epoch(), epoch);
  EXPECT_NE(lane.answered(), seq);
  EXPECT_EQ(lane.Greet(hello), Err::kOk);
  EXPECT_EQ(Null(lane), 0);
}

TEST_F(VmPortTest, TwoRequestsInOneSlotAreOneAfterTheOther) {
  RawLane lane = RawLane::Open(vm());
  uint32_t bytes = lane.Compose(0, 0, "");
  *lane.submission(0, 0) = *lane.submission(0, 1) = {0, bytes, 0, 0};
  Shared(lane.memory.queue(0)->submission.tail).store(2);
  lane.Knock(0);
  auto& done = lane.memory.queue(0)->completion.tail;
  EXPECT_TRUE(Soon([&] { return Shared(done).load() == 2; }));
  EXPECT_TRUE(Info(0)->attached);
}

TEST_F(VmPortTest, QueuesThatWereNotGrantedAreNotServed) {
  RawLane lane = RawLane::Connect(vm());
  Hello hello = RawLane::FullHello();
  hello.queues = 1;
  ASSERT_EQ(lane.Greet(hello), Err::kOk);
  EXPECT_EQ(lane.memory.control()->answer.queues, 1u);
  lane.Submit(1, {0, lane.Compose(1, 0, ""), 0, 0});
  EXPECT_EQ(Null(lane), 0);
  std::this_thread::sleep_for(50ms);
  EXPECT_EQ(Shared(lane.memory.queue(1)->completion.tail).load(), 0u);
}

TEST_F(VmPortTest, AChannelSurvivesItsServer) {
  RawLane lane = RawLane::Open(vm());
  RawLane idle = lane.Lane(1);
  EXPECT_EQ(Null(lane), 0);
  uint64_t epoch = lane.epoch(), idle_epoch = idle.epoch();
  server_->Stop();
  EXPECT_EQ(lane.epoch(), epoch);
  EXPECT_TRUE(keeper_.Has("vm"));
  std::memset(lane.channel->segment->memory().data(), 0x55, kPageBytes);  // the guest's header
  TryClear(lane.completion(0));
  // A request and a hello that the old server never sees.
  lane.Submit(0, {0, lane.Compose(0, 0, ""), 0, 0});
  idle.PutHello(RawLane::FullHello());

  StartServer({.workers = 2});
  AddVmPort();
  auto adopted = server_->Adopt("vm", keeper_.Take("vm"));
  ASSERT_TRUE(adopted) << adopted.error().message;
  EXPECT_TRUE(keeper_.Has("vm"));  // put again
  EXPECT_NE(lane.epoch(), epoch);
  EXPECT_NE(idle.epoch(), idle_epoch);
  pollfd rung{.fd = lane.completion(0), .events = POLLIN, .revents = 0};
  EXPECT_EQ(::poll(&rung, 1, 1000), 1);
  EXPECT_EQ(CheckHeader(lane.channel->segment->memory())->lanes, 4u);
  EXPECT_EQ(lane.Greet(RawLane::FullHello()), Err::kOk);
  EXPECT_EQ(Null(lane), 0);
  EXPECT_EQ(idle.Greet(RawLane::FullHello()), Err::kOk);
  EXPECT_EQ(Info(0)->pid, ::getpid());
  EXPECT_EQ(Client::Connect(vm(), {.volume = "v"}).error().code, Err::kBusy);
  EXPECT_EQ(server_->Adopt("vm", ChannelFds{}).error().code, Err::kBusy);
  EXPECT_TRUE(server_->RemovePort("vm"));
  EXPECT_FALSE(keeper_.Has("vm"));
  EXPECT_TRUE(lane.Ended());
  EXPECT_FALSE(server_->RemovePort("vm"));
}

TEST_F(VmPortTest, OnlyARealChannelIsAdopted) {
  EXPECT_EQ(ChannelFds::FromList({}).error().code, Err::kInvalid);
  EXPECT_EQ(server_->Adopt("general", ChannelFds{}).error().code, Err::kNoEntry);
  EXPECT_EQ(server_->Adopt("nobody", ChannelFds{}).error().code, Err::kNoEntry);
  auto adopt = [&](auto change) {
    RawLane lane = RawLane::Open(vm());
    PRISM_CHECK(Soon([&] { return keeper_.Has("vm"); }));
    server_->Stop();
    ChannelFds fds = keeper_.Take("vm");
    StartServer();
    AddVmPort();
    change(fds, lane);
    auto adopted = server_->Adopt("vm", std::move(fds));
    return adopted ? Err::kOk : adopted.error().code;
  };
  EXPECT_EQ(adopt([](ChannelFds&, RawLane&) {}), Err::kOk);
  EXPECT_EQ(adopt([](ChannelFds& f, RawLane&) { f.to_client.pop_back(); }), Err::kInvalid);
  EXPECT_EQ(adopt([](ChannelFds& f, RawLane&) { std::swap(f.memory, f.to_server[0]); }),
            Err::kInvalid);
  EXPECT_EQ(adopt([](ChannelFds& f, RawLane&) { std::swap(f.socket, f.to_client[0]); }),
            Err::kInvalid);
  EXPECT_EQ(adopt([](ChannelFds& f, RawLane&) {
              Segment other = std::move(*Segment::Create({.lanes = 1, .queues = 2}));
              f.memory = UniqueFd(::fcntl(other.fd(), F_DUPFD_CLOEXEC, 0));
            }),
            Err::kInvalid);
  EXPECT_EQ(adopt([](ChannelFds&, RawLane& lane) { lane.channel->socket.Reset(); }),
            Err::kDisconnected);
}

}  // namespace
}  // namespace prism::vrpc
