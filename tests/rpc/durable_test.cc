// Replies that are sent when the store is durable.
#include <condition_variable>
#include <set>
#include <thread>

#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

// Stands for the store: a wait ends when the test says so, if it has asked for that.
class Store {
 public:
  Status Wait(uint64_t mark) {
    std::unique_lock lock(mutex_);
    EXPECT_FALSE(inside_) << "two leaders";
    inside_ = true;
    marks_.push_back(mark);
    threads_.insert(std::this_thread::get_id());
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    inside_ = false;
    if (!fail_) durable_ = std::max(durable_, mark);
    return fail_ ? Status(Fail(Err::kIo)) : Status();
  }
  void SetOpen(bool open) {
    std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void SetFail(bool fail) {
    std::lock_guard lock(mutex_);
    fail_ = fail;
  }
  bool inside() {
    std::lock_guard lock(mutex_);
    return inside_;
  }
  std::vector<uint64_t> marks() {
    std::lock_guard lock(mutex_);
    return marks_;
  }
  size_t threads() {
    std::lock_guard lock(mutex_);
    return threads_.size();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  bool fail_ = false;
  bool inside_ = false;
  uint64_t durable_ = 0;
  std::vector<uint64_t> marks_;
  std::set<std::thread::id> threads_;
};

class DurableTest : public RpcFixture {
 protected:
  void Start(RpcOptions options = {}) {
    options.wait_durable = [this](uint64_t mark) { return store_.Wait(mark); };
    StartServer(std::move(options));
  }
  void TearDown() override {
    store_.SetOpen(true);
    RpcFixture::TearDown();
  }
  Store store_;
};

TEST_F(DurableTest, NoAnswerBeforeTheStoreIsDurable) {
  Start();
  store_.SetOpen(false);
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall({.xid = 1, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return store_.inside(); }));
  EXPECT_TRUE(client.Call({.xid = 2, .procedure = kEcho})->xid == 2);  // others go on
  EXPECT_FALSE(client.Receive(50));
  store_.SetOpen(true);
  auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->xid, 1u);
  EXPECT_EQ(reply->word(), 1u);
  EXPECT_EQ(store_.marks(), std::vector<uint64_t>{1});
  EXPECT_TRUE(Idle());
}

TEST_F(DurableTest, ManyShareOneWait) {
  Start({.workers = 2});
  store_.SetOpen(false);
  constexpr uint32_t kClients = 16;
  std::vector<RawClient> clients(kClients);
  for (RawClient& client : clients) client = Connect();
  ASSERT_TRUE(clients[0].SendCall({.xid = 1000, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return store_.inside(); }));
  // One of the two workers waits; the other executes all of these.
  for (uint32_t i = 1; i < kClients; ++i)
    ASSERT_TRUE(clients[i].SendCall({.xid = i, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return Stats().durable_replies == kClients; }));
  store_.SetOpen(true);
  for (RawClient& client : clients) ASSERT_TRUE(client.Receive());
  EXPECT_EQ(store_.marks(), (std::vector<uint64_t>{1, kClients}));
  EXPECT_EQ(Stats().durable_waits, 2u);
}

TEST_F(DurableTest, OneConnectionWithManyCalls) {
  Start({.workers = 2});
  store_.SetOpen(false);
  RawClient client = Connect();
  constexpr uint32_t kCalls = 100;
  for (uint32_t i = 1; i <= kCalls; ++i)
    ASSERT_TRUE(client.SendCall({.xid = i, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return Stats().durable_replies == kCalls; }));
  store_.SetOpen(true);
  std::set<uint32_t> seen;
  for (uint32_t i = 0; i < kCalls; ++i) {
    auto reply = client.Receive();
    ASSERT_TRUE(reply);
    seen.insert(reply->xid);
  }
  EXPECT_EQ(seen.size(), kCalls);
  EXPECT_LE(store_.marks().size(), 3u);
}

TEST_F(DurableTest, AFailureIsSaidAndKept) {
  Start();
  store_.SetFail(true);
  RawClient client = Connect();
  auto reply = client.Call({.xid = 1, .procedure = kDurable});
  ASSERT_TRUE(reply && reply->success());
  EXPECT_EQ(reply->word(), kRefusedIo);
  store_.SetFail(false);
  // It has been executed: the retransmission must not do so again.
  EXPECT_EQ(client.Call({.xid = 1, .procedure = kDurable})->word(), kRefusedIo);
  EXPECT_EQ(client.Call({.xid = 2, .procedure = kDurable})->word(), 2u);
  EXPECT_EQ(Stats().durable_failures, 1u);
}

TEST_F(DurableTest, TheConnectionGoesWhileItWaits) {
  Start();
  store_.SetOpen(false);
  RawClient lost = Connect();
  ASSERT_TRUE(lost.SendCall({.xid = 1, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return store_.inside(); }));
  lost.Close();
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall({.xid = 1, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return Stats().replays_dropped == 1; }));
  EXPECT_FALSE(client.Receive(20));
  store_.SetOpen(true);
  auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->word(), 1u);
  EXPECT_EQ(echo_->executed(), 1u);
}

TEST_F(DurableTest, StopSendsWhatWaits) {
  Start();
  store_.SetOpen(false);
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall({.xid = 1, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return store_.inside(); }));
  ASSERT_TRUE(client.SendCall({.xid = 2, .procedure = kDurable}));
  ASSERT_TRUE(Soon([&] { return Stats().durable_replies == 2; }));
  std::thread stopper([&] { server_->Stop(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  store_.SetOpen(true);
  stopper.join();
  EXPECT_TRUE(client.Receive());
  EXPECT_TRUE(client.Receive());
}

TEST_F(DurableTest, ManyClientsAtOnce) {
  Start({.workers = 4});
  std::vector<std::thread> clients;
  std::atomic<uint32_t> good = 0;
  for (uint32_t c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      RawClient client = Connect();
      for (uint32_t i = 0; i < 200; ++i) {
        auto reply = client.Call({.xid = i, .procedure = kDurable, .args = Words({c})});
        if (reply && reply->success() && reply->xid == i) ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 8 * 200u);
  EXPECT_EQ(echo_->executed(), 8 * 200u);
  EXPECT_LE(Stats().durable_waits, Stats().durable_replies);
}

}  // namespace
}  // namespace prism::rpc
