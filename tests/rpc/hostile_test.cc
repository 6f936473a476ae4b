// Clients that are slow, half gone, greedy or mad cost nothing lasting, and nobody else anything.
#include <thread>

#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

class HostileTest : public RpcFixture {
 protected:
  // What every test ends with: others are served, nothing is left.
  void ExpectWell() {
    RawClient other = Connect();
    auto reply = other.Call({.xid = 77, .procedure = kEcho, .args = Words({5})});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->word(), 5u);
    other.Close();
    EXPECT_TRUE(Soon([&] { return Stats().connections == 0; }));
    EXPECT_TRUE(Idle());
  }
};

TEST_F(HostileTest, FragmentsAtEveryByteOverTheSocket) {
  StartServer();
  const Bytes record = EncodeCall({.xid = 3, .procedure = kEcho, .args = Words({1, 2, 3, 4})});
  RawClient client = Connect();
  for (size_t cut = 0; cut <= record.size(); ++cut) {
    const std::span<const std::byte> all(record);
    ASSERT_TRUE(client.Send(Fragment(all.first(cut), false)));
    ASSERT_TRUE(client.Send(Fragment(all.subspan(cut), true)));
    auto reply = client.Receive();
    ASSERT_TRUE(reply) << cut;
    EXPECT_EQ(reply->body, Words({1, 2, 3, 4}));
  }
  for (const std::byte& byte : Marked(record)) ASSERT_TRUE(client.Send({&byte, 1}));
  EXPECT_TRUE(client.Receive());
  client.Close();
  ExpectWell();
}

TEST_F(HostileTest, GarbageIsClosedAtOnce) {
  StartServer();
  const std::string http = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  const std::vector<Bytes> garbage = {
      Bytes(reinterpret_cast<const std::byte*>(http.data()),
            reinterpret_cast<const std::byte*>(http.data()) + http.size()),
      Words({0xffffffff, 0xffffffff}),
      Marked(Words({1})),                                        // too short for anything
      Marked(Words({1, 1, 0, 0, 0, 0})),                         // a reply
      Marked(Words({1, 7, 2})),                                  // neither
      Marked(Words({1, 0, 2, 100, 3, 0, 0, 401})),               // credentials beyond the bound
      Marked(Words({1, 0, 2, 100, 3, 0, 0, 0, 0, 0xfffffff0})),  // a verifier, likewise
      Marked(Words({1, 0, 2, 100, 3, 0})),                       // cut off
      Words({kLastFragment}),
      Words(std::vector<uint32_t>(100, 0)),  // empty fragments
      Words({kLastFragment | 0x7fffffff}),
  };
  for (const Bytes& bytes : garbage) {
    RawClient client = Connect();
    ASSERT_TRUE(client.Send(bytes));
    EXPECT_TRUE(client.ClosedWithin());
  }
  EXPECT_EQ(Stats().connections_broken, garbage.size());
  ExpectWell();
}

TEST_F(HostileTest, VanishingClients) {
  StartServer();
  const Bytes call = Marked(EncodeCall({.procedure = kPayload, .args = Words({1 << 20})}));
  for (size_t cut = 0; cut <= call.size(); ++cut) {
    RawClient client = Connect();
    ASSERT_TRUE(client.Send(std::span(call).first(cut)));
    if (cut % 2 == 0) {  // with a reset
      const linger hard{.l_onoff = 1, .l_linger = 0};
      (void)::setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
  }
  ExpectWell();
  EXPECT_EQ(EchoProgram::payloads, 0);
}

TEST_F(HostileTest, AClientGoesWhileItsCallRuns) {
  StartServer();
  {
    RawClient client = Connect();
    ASSERT_TRUE(client.SendCall({.procedure = kBlock, .args = Zeros(100'000)}));
    ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  }
  ASSERT_TRUE(Soon([&] { return Stats().connections == 0; }));
  echo_->Open(1);
  ExpectWell();
}

TEST_F(HostileTest, AHalfClosedConnectionGetsItsReplies) {
  StartServer();
  RawClient client = Connect();
  for (uint32_t xid = 1; xid <= 3; ++xid)
    ASSERT_TRUE(client.SendCall({.xid = xid, .procedure = kEcho}));
  ::shutdown(client.fd(), SHUT_WR);
  for (uint32_t xid = 1; xid <= 3; ++xid) {
    auto reply = client.Receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->xid, xid);
  }
  EXPECT_TRUE(client.ClosedWithin());
  ExpectWell();
}

TEST_F(HostileTest, AnUnfinishedRecordRunsOutOfTime) {
  StartServer({.record_timeout_ms = 150});
  RawClient silent = Connect();  // says nothing: that is idle, not slow
  RawClient half = Connect();
  ASSERT_TRUE(half.Send(Words({kLastFragment | 100, 1, 2})));
  RawClient mark = Connect();
  ASSERT_TRUE(mark.Send(std::span<const std::byte>(Words({kLastFragment | 100})).first(2)));
  RawClient dripping = Connect();  // a byte now and then does not help
  ASSERT_TRUE(dripping.Send(Words({kLastFragment | 100'000})));
  std::thread drip([&] {
    const std::byte byte{};
    for (int i = 0; i < 300 && dripping.Send({&byte, 1}); ++i)
      std::this_thread::sleep_for(milliseconds(10));
  });
  EXPECT_TRUE(half.ClosedWithin(5000));
  EXPECT_TRUE(mark.ClosedWithin(5000));
  EXPECT_TRUE(Soon([&] { return Stats().connections_expired == 3; }));
  drip.join();
  EXPECT_TRUE(silent.Call({})->success());
  silent.Close();
  ExpectWell();
}

TEST_F(HostileTest, ASlowRecordThatMakesProgressIsWaitedFor) {
  StartServer({.record_timeout_ms = 200});
  RawClient client = Connect();
  const Bytes call = Marked(EncodeCall({.procedure = kEcho, .args = Zeros(1 << 20)}));
  const auto start = steady_clock::now();
  for (size_t at = 0; at < call.size(); at += 80'000) {  // far more slowly than the time-out
    ASSERT_TRUE(
        client.Send(std::span(call).subspan(at, std::min<size_t>(80'000, call.size() - at))));
    std::this_thread::sleep_for(milliseconds(40));
  }
  EXPECT_GT(steady_clock::now() - start, milliseconds(500));
  auto reply = client.Receive();
  ASSERT_TRUE(reply && reply->success());
}

TEST_F(HostileTest, IdleConnectionsAreClosedButNotThoseThatWaitForUs) {
  StartServer({.idle_timeout_ms = 100});
  RawClient idle = Connect();
  RawClient waiting = Connect();
  ASSERT_TRUE(waiting.SendCall({.xid = 4, .procedure = kBlock}));
  EXPECT_TRUE(idle.ClosedWithin(5000));
  EXPECT_FALSE(waiting.Receive(300));
  EXPECT_EQ(echo_->blocked(), 1u);
  echo_->Open(1);
  auto reply = waiting.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->xid, 4u);
  EXPECT_TRUE(waiting.ClosedWithin(5000));
  EXPECT_EQ(Stats().connections_expired, 2u);
}

TEST_F(HostileTest, AClientThatDoesNotReadIsNotReadFromAndThenDropped) {
  StartServer({.workers = 2, .send_timeout_ms = 400});
  RawClient client(server_->address(), /*receive_buffer_bytes=*/4096);
  const Bytes call = Marked(EncodeCall({.procedure = kPayload, .args = Words({1 << 20})}));
  // It sends as long as the server takes anything.
  uint64_t most_bytes = 0;
  size_t sent = 0, at = 0;
  for (int stuck = 0; stuck < 100 && sent < (64u << 20);) {
    const size_t more = client.SendSome(std::span(call).subspan(at));
    sent += more;
    at = (at + more) % call.size();
    stuck = more > 0 ? 0 : stuck + 1;
    most_bytes = std::max(most_bytes, Stats().bytes_in_flight);
    if (more == 0) std::this_thread::sleep_for(milliseconds(1));
  }
  EXPECT_LT(sent, 64u << 20);
  // What one worker's turn has made until it found the socket full.
  EXPECT_LE(most_bytes, 18u << 20);
  EXPECT_LE(EchoProgram::payloads, 17);
  EXPECT_TRUE(Soon([&] { return Stats().connections_expired == 1; }));
  EXPECT_TRUE(Soon([&] { return EchoProgram::payloads == 0; }));
  client.Close();
  ExpectWell();
}

TEST_F(HostileTest, ASlowReaderGetsEverything) {
  StartServer({.send_timeout_ms = 300});
  RawClient client(server_->address(), /*receive_buffer_bytes=*/4096);
  constexpr uint32_t kCalls = 40;
  for (uint32_t xid = 1; xid <= kCalls; ++xid)
    ASSERT_TRUE(client.SendCall({.xid = xid, .procedure = kPayload, .args = Words({200'000})}));
  for (uint32_t xid = 1; xid <= kCalls; ++xid) {
    auto reply = client.Receive();
    ASSERT_TRUE(reply) << xid;
    EXPECT_EQ(reply->xid, xid);
    EXPECT_EQ(reply->body.size(), 200'004u);
    std::this_thread::sleep_for(milliseconds(10));
  }
  client.Close();
  ExpectWell();
}

TEST_F(HostileTest, ManyConnectionsOfOneClient) {
  StartServer({.connections_per_client_max = 4});
  std::vector<RawClient> clients(4);
  for (RawClient& client : clients) {
    client = Connect();
    ASSERT_TRUE(client.Call({})->success());
    std::this_thread::sleep_for(milliseconds(10));  // the clock that tells them apart is coarse
  }
  ASSERT_TRUE(clients[0].SendCall({.procedure = kBlock}));  // the oldest is not idle
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  RawClient newest = Connect();
  EXPECT_TRUE(newest.Call({})->success());
  EXPECT_TRUE(clients[1].ClosedWithin());
  echo_->Open(1);
  EXPECT_TRUE(clients[0].Receive());
  EXPECT_TRUE(clients[2].Call({})->success());
  // Other clients have their own bound.
  RawClient other = RawClient::From("127.0.0.2", server_->address());
  EXPECT_TRUE(other.Call({})->success());
}

TEST_F(HostileTest, ManyConnectionsOverall) {
  StartServer({.connections_max = 3});
  std::vector<RawClient> clients(3);
  for (RawClient& client : clients) {
    client = Connect();
    ASSERT_TRUE(client.Call({})->success());
  }
  RawClient refused = Connect();
  EXPECT_TRUE(refused.ClosedWithin());
  EXPECT_EQ(Stats().connections_refused, 1u);
  clients[0].Close();
  EXPECT_TRUE(Soon([&] { return Stats().connections == 2; }));
  EXPECT_TRUE(Connect().Call({})->success());
}

TEST_F(HostileTest, MemoryIsRefusedNotWaitedFor) {
  StartServer({.client_bytes_in_flight_max = 300'000});
  RawClient blocker = Connect();
  ASSERT_TRUE(blocker.SendCall({.xid = 1, .procedure = kBlock, .args = Zeros(200'000)}));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  // There is no memory for this one: its tail is thrown away as it comes.
  RawClient client = Connect();
  auto reply = client.Call({.xid = 2, .procedure = kEcho, .args = Zeros(1 << 20)});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->xid, 2u);
  EXPECT_EQ(reply->word(), kRefusedAgain);
  EXPECT_LE(Stats().bytes_in_flight, 310'000u);
  EXPECT_EQ(Stats().refused, 1u);
  EXPECT_EQ(client.Call({.xid = 3, .procedure = kEcho, .args = Words({3})})->word(), 3u);
  // A program that has no word for it: SYSTEM_ERR.
  reply = client.Call({.xid = 2, .procedure = kWho, .args = Zeros(1 << 20)});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->detail, 5u);
  // Another client is not concerned.
  RawClient other = RawClient::From("127.0.0.2", server_->address());
  reply = other.Call({.procedure = kEcho, .args = Zeros(200'000)});
  EXPECT_EQ(reply->body.size(), 200'000u);
  echo_->Open(1);
  EXPECT_EQ(blocker.Receive()->body.size(), 200'000u);
  EXPECT_TRUE(Idle());
  EXPECT_EQ(client.Call({.procedure = kEcho, .args = Zeros(200'000)})->body.size(), 200'000u);
  for (RawClient* one : {&blocker, &client, &other}) one->Close();
  EXPECT_TRUE(Idle());  // memory is given back after the reply has gone
  ExpectWell();
}

TEST_F(HostileTest, AReplayComesBeforeARefusal) {
  StartServer({.client_bytes_in_flight_max = 1000});
  RawClient client = Connect();
  EXPECT_EQ(client.Call({.xid = 1, .procedure = kCreate})->word(), 1u);
  RawClient stuck(server_->address(), 4096);
  ASSERT_TRUE(stuck.SendCall({.procedure = kPayload, .args = Words({16 << 20})}));
  ASSERT_TRUE(Soon([&] { return Stats().bytes_in_flight > 1000; }));
  EXPECT_EQ(client.Call({.xid = 2, .procedure = kCreate})->word(), kRefusedAgain);
  EXPECT_EQ(client.Call({.xid = 1, .procedure = kCreate})->word(), 1u);
  EXPECT_TRUE(client.Call({.xid = 3, .procedure = kNull})->success());
  EXPECT_EQ(echo_->executed(), 1u);
  stuck.Close();
  EXPECT_TRUE(Idle());
  // The refusal has not been kept.
  EXPECT_EQ(client.Call({.xid = 2, .procedure = kCreate})->word(), 2u);
}

}  // namespace
}  // namespace prism::rpc
