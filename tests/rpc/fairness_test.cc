// One client's load is not another's delay: who gets workers, and when.
#include <thread>

#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

class FairnessTest : public RpcFixture {
 protected:
  // A client that has as many blocking calls under way as it can have.
  std::vector<RawClient> Block(const std::string& source_ip, uint32_t connections,
                               uint32_t calls_each, uint32_t xid) {
    std::vector<RawClient> clients(connections);
    for (RawClient& client : clients) {
      client = RawClient::From(source_ip, server_->address());
      for (uint32_t i = 0; i < calls_each; ++i)
        EXPECT_TRUE(client.SendCall({.xid = xid++, .procedure = kBlock}));
    }
    return clients;
  }
};

TEST_F(FairnessTest, AClientBlocksItsShareOfWorkersOnly) {
  StartServer({.workers = 8});
  auto greedy = Block("127.0.0.2", 20, 3, 1);
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 4 && Stats().parked >= 16; }));
  // Another client's calls, blocking or not, go on; so do the greedy one's that do not block.
  RawClient other = Connect();
  for (uint32_t i = 0; i < 100; ++i) ASSERT_TRUE(other.Call({.xid = i})->success());
  ASSERT_TRUE(other.SendCall({.xid = 500, .procedure = kBlock}));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 5; }));
  RawClient same = RawClient::From("127.0.0.2", server_->address());
  EXPECT_TRUE(same.Call({.procedure = kEcho})->success());
  EXPECT_EQ(echo_->blocked_most(), 5u);
  // All of them are served in the end.
  echo_->Open(61);
  for (RawClient& client : greedy)
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(client.Receive());
  EXPECT_TRUE(other.Receive());
  EXPECT_TRUE(Idle());
}

TEST_F(FairnessTest, ManyGreedyClientsLeaveAWorker) {
  StartServer({.workers = 6});
  std::vector<std::vector<RawClient>> greedy;
  for (uint32_t c = 2; c < 10; ++c)
    greedy.push_back(Block("127.0.0." + std::to_string(c), 4, 2, 1));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 4 && Stats().parked >= 28; }));
  RawClient other = Connect();
  for (uint32_t i = 0; i < 100; ++i)
    ASSERT_TRUE(other.Call({.xid = i, .procedure = kEcho})->success());
  EXPECT_EQ(echo_->blocked_most(), 4u);
  // One at a time: whoever waits gets its turn.
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(Soon([&] { return echo_->blocked() > 0; }));
    echo_->Open(1);
  }
  for (auto& clients : greedy)
    for (RawClient& client : clients)
      for (int i = 0; i < 2; ++i) ASSERT_TRUE(client.Receive());
  EXPECT_EQ(echo_->blocked_most(), 4u);
  EXPECT_EQ(echo_->echoed(), 164u);
}

TEST_F(FairnessTest, ClientsThatWaitTakeTurns) {
  StartServer({.workers = 3});  // one blocking call at a time
  auto first = Block("127.0.0.2", 1, 1, 1);
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  auto greedy = Block("127.0.0.2", 10, 1, 10);
  ASSERT_TRUE(Soon([&] { return Stats().parked == 10; }));
  RawClient late = RawClient::From("127.0.0.3", server_->address());
  ASSERT_TRUE(late.SendCall({.procedure = kBlock}));
  ASSERT_TRUE(Soon([&] { return Stats().parked == 11; }));
  // It came last, but only one of the greedy one's is before it.
  echo_->Open(3);
  EXPECT_TRUE(late.Receive());
  EXPECT_EQ(echo_->echoed(), 3u);
  echo_->Open(9);
  for (RawClient& client : greedy) ASSERT_TRUE(client.Receive());
}

TEST_F(FairnessTest, ParkedConnectionsMayGo) {
  StartServer({.workers = 4});
  auto running = Block("127.0.0.2", 2, 1, 1);
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 2; }));
  {
    auto gone = Block("127.0.0.2", 10, 1, 10);
    ASSERT_TRUE(Soon([&] { return Stats().parked == 10; }));
  }
  auto waiting = Block("127.0.0.2", 1, 1, 100);
  ASSERT_TRUE(Soon([&] { return Stats().parked == 11; }));
  // A parked connection is not watched, so those that have gone are found out when it is their
  // turn; what they asked for is complete and may be executed.
  echo_->Open(13);
  EXPECT_TRUE(waiting[0].Receive());
  EXPECT_TRUE(running[0].Receive());
  EXPECT_TRUE(running[1].Receive());
  EXPECT_TRUE(Soon([&] { return Stats().connections == 3; }));
  EXPECT_TRUE(Idle());
}

// With one worker every turn is seen: a client that has sent thousands of calls on many connections
// is not served to its end before another's single call.
TEST_F(FairnessTest, ConnectionsTakeTurns) {
  StartServer({.workers = 1});
  RawClient plug = Connect();
  ASSERT_TRUE(plug.SendCall({.procedure = kSlowEcho}));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  constexpr uint32_t kCalls = 2000;
  std::vector<RawClient> greedy(4);
  Bytes calls;
  for (uint32_t i = 0; i < kCalls; ++i) {
    const Bytes call = Marked(EncodeCall({.xid = i, .procedure = kEcho}));
    calls.insert(calls.end(), call.begin(), call.end());
  }
  for (RawClient& client : greedy) {
    client = RawClient::From("127.0.0.2", server_->address());
    ASSERT_TRUE(client.Send(calls));
  }
  RawClient other = Connect();
  // Its answer says how many of the greedy one's came before it.
  ASSERT_TRUE(other.SendCall({.procedure = kCreate}));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // all are in the server's socket
  echo_->Open(1);
  auto reply = other.Receive();
  ASSERT_TRUE(reply);
  EXPECT_LT(reply->word(1), 4 * kCalls / 4);
  for (RawClient& client : greedy)
    for (uint32_t i = 0; i < kCalls; ++i) ASSERT_TRUE(client.Receive());
}

}  // namespace
}  // namespace prism::rpc
