// What a ResumingClient owes itself when a session is lost at a bad moment. Programs in mounts
// whose server is killed again and again: tests/crash/resume_test.cc.
#include "vrpc/resuming_client.h"

#include <future>
#include <map>

#include "fs/core/lock_table.h"
#include "tests/vrpc/lane_fixture.h"
#include "vrpc/doorbell.h"
#include "vrpc/socket_endpoint.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

constexpr InodeId kIno = 7;
constexpr fs::LockArgs kLocked{.ino = kIno, .type = fs::LockType::kExclusive, .owner = "o"};
constexpr fs::LockArgs kUnlocked{.ino = kIno, .type = fs::LockType::kUnlock, .owner = "o"};

struct Gate {
  std::atomic<bool> open = true;
  std::atomic<int> inside = 0;

  void Pass() {
    ++inside;
    while (!open) std::this_thread::sleep_for(1ms);
    --inside;
  }
};

// Answers Lock and Sync when it may; remembers what it was asked last.
class SlowFs final : public EchoFs {
 public:
  explicit SlowFs(Gate& gate) : gate_(gate) {}

  Status Lock(const fs::Caller&, const fs::LockArgs& args) override {
    last_ = args.type;
    gate_.Pass();
    return {};
  }
  Status Sync(const fs::Caller&) override {
    gate_.Pass();
    return {};
  }
  fs::LockType last() const { return last_; }

 private:
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
      if (is_away_) return Explain(Err::kAgain, "later");
      return MakeFs();
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
    server_.reset();
  }
  virtual std::shared_ptr<fs::FileSystem> MakeFs() {
    auto made = std::make_shared<SlowFs>(gate_);
    std::lock_guard lock(mutex_);
    latest_ = made;
    return made;
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

  Gate gate_;
  std::atomic<bool> is_away_ = false;  // no session is given
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

// The locks of one volume.
class LockedVolume {
 public:
  static constexpr fs::ClientId kStranger = 1'000'000;

  fs::ClientId Enter(EchoFs* client) {
    std::lock_guard lock(mutex_);
    clients_[++last_id_] = client;
    return last_id_;
  }
  void Leave(fs::ClientId id) {
    Change([&](fs::LockTable::Grants& grants) { table_.Drop(id, 0, {}, grants); });
    std::lock_guard lock(mutex_);
    clients_.erase(id);
  }
  Status Set(fs::ClientId id, const fs::LockArgs& args) {
    Status status;
    Change([&](fs::LockTable::Grants& grants) { status = table_.Set(id, args, grants); });
    return status;
  }
  Status Cancel(fs::ClientId id, uint64_t cookie) { return table_.Cancel(id, cookie); }
  // Held and waited for.
  size_t size() const { return table_.size(); }

 private:
  template <typename Call>
  void Change(Call call) {
    fs::LockTable::Grants grants;
    call(grants);
    std::lock_guard lock(mutex_);
    for (const fs::LockTable::Grant& grant : grants)
      if (auto found = clients_.find(grant.client); found != clients_.end())
        found->second->Send({fs::Event::Kind::kLockGranted, grant.ino, {}, grant.cookie});
  }

  fs::LockMemory memory_;
  fs::LockTable table_{memory_, 1};
  std::mutex mutex_;
  fs::ClientId last_id_ = 0;
  std::map<fs::ClientId, EchoFs*> clients_;
};

class LockingFs final : public EchoFs {
 public:
  LockingFs(LockedVolume& volume, Gate& gate)
      : volume_(volume), gate_(gate), id_(volume.Enter(this)) {}
  ~LockingFs() override { volume_.Leave(id_); }
  Status Lock(const fs::Caller&, const fs::LockArgs& args) override {
    const Status status = volume_.Set(id_, args);
    gate_.Pass();
    return status;
  }
  Status CancelLock(const fs::Caller&, uint64_t cookie) override {
    const Status status = volume_.Cancel(id_, cookie);
    gate_.Pass();
    return status;
  }

 private:
  LockedVolume& volume_;
  Gate& gate_;
  const fs::ClientId id_;
};

class Grants final : public fs::EventListener {
 public:
  void OnEvent(const fs::Event& event) override {
    if (event.kind == fs::Event::Kind::kLockGranted) ++count;
  }
  std::atomic<int> count = 0;
};

class ResumingLocksTest : public ResumingTest {
 protected:
  void SetUp() override {
    ResumingTest::SetUp();
    client_->SetListener(&grants_);
    waiting_ = kLocked;
    waiting_.wait = true;
    waiting_.cookie = 1;
    stranger_ = kLocked;
    stranger_.owner = "s";
  }
  void TearDown() override {
    client_->SetListener(nullptr);
    ResumingTest::TearDown();
  }
  std::shared_ptr<fs::FileSystem> MakeFs() override {
    return std::make_shared<LockingFs>(volume_, gate_);
  }
  // A call that is made while there is no session.
  template <typename Call>
  auto WhileAway(
      Call call, FunctionRef<void()> meanwhile = [] {}) {
    is_away_ = true;
    DropSession();
    EXPECT_TRUE(Soon([&] { return client_->resumed() == 1; }));
    auto result = std::async(std::launch::async, call);
    std::this_thread::sleep_for(50ms);
    meanwhile();
    is_away_ = false;
    return result.get();
  }
  Status SetStrangers(const fs::LockArgs& args) {
    return volume_.Set(LockedVolume::kStranger, args);
  }
  void StrangerLeaves() { volume_.Leave(LockedVolume::kStranger); }

  LockedVolume volume_;
  Grants grants_;
  fs::LockArgs waiting_, stranger_;
};

TEST_F(ResumingLocksTest, WhatIsNoLongerWaitedForIsNotAskedForAgain) {
  ASSERT_TRUE(SetStrangers(stranger_));
  ASSERT_EQ(client_->Lock({}, waiting_).error(), Err::kAgain);
  EXPECT_TRUE(AnsweredBeforeASessionIsLost([&] { return client_->CancelLock({}, 1); }));
  EXPECT_EQ(volume_.size(), 1u) << "somebody waits";
  StrangerLeaves();
  EXPECT_EQ(volume_.size(), 0u) << "granted to nobody";
}

TEST_F(ResumingLocksTest, AWaitIsCanceledWhileThereIsNoSession) {
  ASSERT_TRUE(SetStrangers(stranger_));
  ASSERT_EQ(client_->Lock({}, waiting_).error(), Err::kAgain);
  EXPECT_TRUE(WhileAway([&] { return client_->CancelLock({}, 1); }));
  EXPECT_EQ(volume_.size(), 1u);
}

TEST_F(ResumingLocksTest, ACancelingThatComesTooLateMeansALock) {
  ASSERT_TRUE(SetStrangers(stranger_));
  ASSERT_EQ(client_->Lock({}, waiting_).error(), Err::kAgain);
  auto canceled = WhileAway([&] { return client_->CancelLock({}, 1); }, [&] { StrangerLeaves(); });
  EXPECT_EQ(canceled.error(), Err::kNoEntry);
  EXPECT_EQ(grants_.count, 1);
  EXPECT_EQ(SetStrangers(stranger_).error(), Err::kAgain);
  ASSERT_TRUE(client_->Lock({}, kUnlocked));
  EXPECT_EQ(volume_.size(), 0u);
}

TEST_F(ResumingLocksTest, ARequestOfTheTimeBetweenWaitsOnce) {
  ASSERT_TRUE(SetStrangers(stranger_));
  auto locked = WhileAway([&] { return client_->Lock({}, waiting_); });
  EXPECT_EQ(locked.error(), Err::kAgain);
  EXPECT_EQ(volume_.size(), 2u);
  StrangerLeaves();
  EXPECT_TRUE(Soon([&] { return grants_.count == 1; }));
  EXPECT_EQ(volume_.size(), 1u);
  ASSERT_TRUE(client_->Lock({}, kUnlocked));
  EXPECT_EQ(volume_.size(), 0u);
}

TEST_F(ResumingLocksTest, AFlockThatIsRefusedIsGivenUpByTheNextSessionToo) {
  fs::LockArgs shared = kLocked;
  shared.kind = stranger_.kind = fs::LockKind::kFlock;
  shared.type = stranger_.type = fs::LockType::kShared;
  fs::LockArgs raised = shared;
  raised.type = fs::LockType::kExclusive;
  ASSERT_TRUE(SetStrangers(stranger_));
  ASSERT_TRUE(client_->Lock({}, shared));
  auto locked = AnsweredBeforeASessionIsLost([&] { return client_->Lock({}, raised); });
  EXPECT_EQ(locked.error(), Err::kAgain);
  EXPECT_EQ(volume_.size(), 1u) << "what was given up is held again";
}

// Nobody gets one before all who had some have come back (fs/contract/lock.h); nobody loses his.
TEST(HeldLocksTest, AFlockOfTheSameTypeOutlivesARefusal) {
  fs::LockArgs flock = kLocked;
  flock.kind = fs::LockKind::kFlock;
  HeldLocks locks;
  locks.Granted(flock);
  locks.Refused(flock);
  Gate gate;
  LockedVolume volume;
  LockingFs server(volume, gate);
  ASSERT_TRUE(locks.Replay(server, [](const fs::Event&) {}));
  EXPECT_EQ(volume.size(), 1u);
  flock.type = fs::LockType::kShared;
  locks.Refused(flock);
  LockingFs next(volume, gate);
  ASSERT_TRUE(locks.Replay(next, [](const fs::Event&) {}));
  EXPECT_EQ(volume.size(), 1u);
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
  ASSERT_TRUE(
      locks.Replay(server, [](const fs::Event&) { FAIL() << "it does not wait any more"; }));
}

}  // namespace
}  // namespace prism::vrpc
