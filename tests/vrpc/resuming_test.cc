// What a ResumingClient owes itself when a session is lost at a bad moment. Programs in mounts
// whose server is killed again and again: tests/crash/resume_test.cc.
#include "vrpc/resuming_client.h"

#include <future>

#include "tests/vrpc/lane_fixture.h"
#include "vrpc/doorbell.h"
#include "vrpc/socket_endpoint.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

constexpr InodeId kIno = 7;
constexpr fs::LockArgs kLocked{.ino = kIno, .type = fs::LockType::kExclusive, .owner = "o"};
constexpr fs::LockArgs kUnlocked{.ino = kIno, .type = fs::LockType::kUnlock, .owner = "o"};

// Answers Lock and Sync when it may; remembers what it was asked last.
class SlowFs final : public EchoFs {
 public:
  struct Gate {
    std::atomic<bool> open = true;
    std::atomic<int> inside = 0;
  };
  explicit SlowFs(Gate& gate) : gate_(gate) {}

  Status Lock(const fs::Caller&, const fs::LockArgs& args) override {
    last_ = args.type;
    Pass();
    return {};
  }
  Status Sync(const fs::Caller&) override {
    Pass();
    return {};
  }
  fs::LockType last() const { return last_; }

 private:
  void Pass() {
    ++gate_.inside;
    while (!gate_.open) std::this_thread::sleep_for(1ms);
    --gate_.inside;
  }
  Gate& gate_;
  std::atomic<fs::LockType> last_ = fs::LockType::kShared;  // nobody asks for it
};

// A client's end whose next waiter for a reply can be made to hear late: of nothing but the test's
// own bell.
class LateEndpoint final : public Endpoint {
 public:
  struct Bell {
    UniqueFd fd = std::move(*MakeDoorbell());
    std::atomic<bool> next_is_late = false;
  };
  LateEndpoint(std::unique_ptr<Endpoint> inner, Bell& bell)
      : inner_(std::move(inner)), bell_(bell) {}

  std::span<std::byte> memory() const override { return inner_->memory(); }
  void RingServer(uint32_t vector) override { inner_->RingServer(vector); }
  int EventFd(uint32_t vector) const override {
    return vector > 0 && bell_.next_is_late.exchange(false) ? bell_.fd.get()
                                                            : inner_->EventFd(vector);
  }
  int lifeline() const override { return inner_->lifeline(); }
  Outcome<uint32_t> ClaimLane(uint32_t lanes) override { return inner_->ClaimLane(lanes); }

 private:
  std::unique_ptr<Endpoint> inner_;
  Bell& bell_;
};

class ResumingTest : public LaneFixture {
 protected:
  void SetUp() override {
    server_ = std::move(*Server::Start({.workers = 3}));
    auto opener = [this](const OpenRequest&) -> Outcome<std::shared_ptr<fs::FileSystem>> {
      auto made = std::make_shared<SlowFs>(gate_);
      std::lock_guard lock(mutex_);
      latest_ = made;
      return made;
    };
    ASSERT_TRUE(server_->AddPort(
        {.name = "general", .path = path(), .uid = ::geteuid(), .opener = std::move(opener)}));
    auto endpoints = [this](Deadline deadline) -> Outcome<std::unique_ptr<Endpoint>> {
      PRISM_ASSIGN(auto inner, SocketEndpoint::Connect(path(), deadline));
      return std::make_unique<LateEndpoint>(std::move(inner), bell_);
    };
    client_ = std::move(*ResumingClient::Connect(endpoints, {.volume = "v", .spin_us_max = 0}, {}));
  }
  void TearDown() override {
    gate_.open = true;
    client_.reset();
  }
  // Of the session that there is now.
  fs::LockType LastAsked() {
    std::lock_guard lock(mutex_);
    auto latest = latest_.lock();
    return latest ? latest->last() : fs::LockType::kShared;
  }
  void DropSession() {
    for (const LaneInfo& lane : server_->Lanes()) server_->Drop(lane.id);
  }
  // The session is lost and resumed when this call has been answered and its caller, who sleeps,
  // has not noticed either.
  template <typename Call>
  auto AnsweredBeforeASessionIsLost(Call call) {
    gate_.open = false;
    bell_.next_is_late = true;
    auto result = std::async(std::launch::async, call);
    EXPECT_TRUE(Soon([&] { return gate_.inside == 1 && !bell_.next_is_late; }));
    const int alive = EchoFs::alive;
    gate_.open = true;
    DropSession();
    EXPECT_TRUE(Soon([&] { return client_->resumed() == 1; }));
    EXPECT_TRUE(client_->Statfs({}));
    EXPECT_TRUE(Soon([&] { return EchoFs::alive == alive; })) << "the old session's goes";
    Ring(bell_.fd.get());
    return result.get();
  }

  SlowFs::Gate gate_;
  LateEndpoint::Bell bell_;
  std::mutex mutex_;
  std::weak_ptr<SlowFs> latest_;
  std::shared_ptr<ResumingClient> client_;
};

TEST_F(ResumingTest, ALockIsOfTheNextSessionTooHoweverLateItsReplyIsSeen) {
  EXPECT_TRUE(AnsweredBeforeASessionIsLost([&] { return client_->Lock({}, kLocked); }));
  EXPECT_EQ(LastAsked(), fs::LockType::kExclusive);
}

TEST_F(ResumingTest, WhatIsUnlockedStaysSoHoweverLateTheReplyIsSeen) {
  ASSERT_TRUE(client_->Lock({}, kLocked));
  EXPECT_TRUE(AnsweredBeforeASessionIsLost([&] { return client_->Lock({}, kUnlocked); }));
  EXPECT_EQ(LastAsked(), fs::LockType::kUnlock);
}

// Once all callers know that the session is lost, nobody else tells the thread that resumes it.
TEST_F(ResumingTest, ALossIsNotSleptOver) {
  const std::byte data[1] = {};
  ASSERT_TRUE(client_->Write({}, {.ino = kIno, .data = data}));
  gate_.open = false;
  bell_.next_is_late = true;
  // The thread that syncs now and then is the one that resumes.
  ASSERT_TRUE(Soon([&] { return gate_.inside == 1 && !bell_.next_is_late; }));
  DropSession();
  auto other = std::async(std::launch::async, [&] { return client_->Statfs({}).has_value(); });
  ASSERT_TRUE(Soon([&] { return client_->resumed() == 1; }));
  gate_.open = true;
  std::this_thread::sleep_for(50ms);
  Ring(bell_.fd.get());
  EXPECT_EQ(other.wait_for(800ms), std::future_status::ready);
  EXPECT_TRUE(other.get());
}

class FullFs final : public EchoFs {
  Result<fs::WriteResult> Write(const fs::Caller&, const fs::WriteArgs&) override {
    return Fail(Err::kNoSpace);
  }
};

TEST(UnsyncedWritesTest, WhatCannotBeWrittenAgainIsToldToWhoeverSyncsThatFile) {
  UnsyncedWrites writes;
  const std::byte data[1] = {};
  writes.Add(kIno, 0, data);
  FullFs full;
  ASSERT_TRUE(writes.Replay(full));
  EXPECT_FALSE(writes.TakeFailure(kIno + 1));
  EXPECT_TRUE(writes.TakeFailure(0)) << "to one who syncs all";
  EXPECT_FALSE(writes.TakeFailure(0));
  EXPECT_TRUE(writes.TakeFailure(kIno)) << "somebody else";
  EXPECT_FALSE(writes.TakeFailure(kIno));
}

// Of a server that answers only after an event of its own has been taken.
class EventFirstFs final : public EchoFs {
 public:
  explicit EventFirstFs(HeldLocks& locks) : locks_(locks) {}
  ~EventFirstFs() override {
    for (std::thread& thread : threads_) thread.join();
  }
  Status Lock(const fs::Caller&, const fs::LockArgs&) override {
    auto taken = std::make_shared<std::promise<void>>();
    threads_.emplace_back([this, taken] {
      locks_.WaitGranted(4711);
      taken->set_value();
    });
    in_time_ &= taken->get_future().wait_for(2s) == std::future_status::ready;
    return {};
  }
  bool in_time() const { return in_time_; }

 private:
  HeldLocks& locks_;
  std::vector<std::thread> threads_;
  bool in_time_ = true;
};

TEST(HeldLocksTest, EventsAreTakenWhileItAsksForLocks) {
  HeldLocks locks;
  locks.Granted(kLocked);
  fs::LockArgs waiting = kLocked;
  waiting.owner = "another";
  waiting.wait = true;
  waiting.cookie = 1;
  locks.Waits(waiting);
  EventFirstFs server(locks);
  std::vector<uint64_t> granted;
  ASSERT_TRUE(locks.Replay(server, [&](const fs::Event& event) {
    granted.push_back(event.cookie);
    locks.WaitGranted(event.cookie);
  }));
  EXPECT_TRUE(server.in_time());
  EXPECT_EQ(granted, std::vector<uint64_t>{1});
  EXPECT_FALSE(locks.IsWaiting(1));
}

}  // namespace
}  // namespace prism::vrpc
