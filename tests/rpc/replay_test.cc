// Retransmissions: what was executed is not executed again.
#include <thread>

#include "server/rpc/reply_cache.h"
#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

class ReplayTest : public RpcFixture {};

TEST_F(ReplayTest, ARetransmissionGetsTheSameAnswer) {
  StartServer();
  RawClient client = Connect();
  const CallSpec create{.xid = 5, .procedure = kCreate, .args = Words({1})};
  auto first = client.Call(create);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->word(), 1u);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(client.Call(create)->body, first->body);
  EXPECT_EQ(echo_->executed(), 1u);
  EXPECT_EQ(Stats().replays, 3u);
  EXPECT_EQ(Stats().cached_replies, 1u);
  // Anything else about the call makes it another one.
  EXPECT_EQ(client.Call({.xid = 6, .procedure = kCreate, .args = Words({1})})->word(), 2u);
  EXPECT_EQ(client.Call({.xid = 5, .procedure = kCreate, .args = Words({2})})->word(), 3u);
  EXPECT_EQ(client
                .Call({.xid = 5,
                       .procedure = kCreate,
                       .flavor = 1,
                       .credentials = AuthSys(1, 1, {}, "m"),
                       .args = Words({1})})
                ->word(),
            4u);
}

TEST_F(ReplayTest, OverANewConnection) {
  StartServer();
  const CallSpec create{.xid = 5, .procedure = kCreate, .args = Words({1})};
  RawClient lost = Connect();
  ASSERT_TRUE(lost.SendCall(create));
  ASSERT_TRUE(Soon([&] { return echo_->executed() == 1; }));
  lost.Close();  // without having read the answer
  RawClient client = Connect();
  EXPECT_EQ(client.Call(create)->word(), 1u);
  EXPECT_EQ(echo_->executed(), 1u);
  // Another address is another client.
  RawClient other = RawClient::From("127.0.0.2", server_->address());
  EXPECT_EQ(other.Call(create)->word(), 2u);
}

TEST_F(ReplayTest, AnAnswerReachesTheNewestConnectionThatAsked) {
  StartServer();
  const CallSpec create{.xid = 5, .procedure = kSlowCreate};
  RawClient lost = Connect();
  ASSERT_TRUE(lost.SendCall(create));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  ASSERT_TRUE(lost.SendCall(create));  // on the same one: dropped
  lost.Close();
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall(create));
  ASSERT_TRUE(Soon([&] { return Stats().replays_dropped == 2; }));
  echo_->Open(1);
  auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->xid, 5u);
  EXPECT_EQ(reply->word(), 1u);
  EXPECT_EQ(echo_->executed(), 1u);
  EXPECT_EQ(client.Call(create)->word(), 1u);  // and it is kept
  EXPECT_EQ(Stats().replays, 1u);
  EXPECT_TRUE(Idle());
}

TEST_F(ReplayTest, TheFirstConnectionGetsItWhenTheNewestHasGone) {
  StartServer();
  const CallSpec create{.xid = 5, .procedure = kSlowCreate};
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall(create));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  {
    RawClient other = Connect();
    ASSERT_TRUE(other.SendCall(create));
    ASSERT_TRUE(Soon([&] { return Stats().replays_dropped == 1; }));
  }
  ASSERT_TRUE(Soon([&] { return Stats().connections == 1; }));
  echo_->Open(1);
  auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->word(), 1u);
}

TEST_F(ReplayTest, WhatIsNotAnAnswerIsNotKept) {
  StartServer();
  RawClient client = Connect();
  for (uint32_t i = 1; i <= 2; ++i) {
    auto reply = client.Call({.xid = 9, .procedure = kGarbage});
    EXPECT_EQ(reply->detail, 4u);
    EXPECT_EQ(echo_->executed(), i);
  }
  ASSERT_TRUE(client.SendCall({.xid = 10, .procedure = kDropped}));
  ASSERT_TRUE(client.SendCall({.xid = 10, .procedure = kDropped}));
  ASSERT_TRUE(Soon([&] { return echo_->executed() == 4; }));
  EXPECT_TRUE(client.Call({.xid = 11})->success());  // nothing came for those
  EXPECT_EQ(Stats().cached_replies, 0u);
}

TEST_F(ReplayTest, ManyConnectionsRetransmitOneCall) {
  StartServer({.workers = 4});
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  constexpr int kClients = 8, kRounds = 50;
  for (int c = 0; c < kClients; ++c) {
    clients.emplace_back([&] {
      for (uint32_t round = 0; round < kRounds; ++round) {
        RawClient client = Connect();
        // Whoever comes while it is executed may be dropped for a later one, and asks again.
        for (int tries = 0; tries < 100; ++tries) {
          if (!client.SendCall({.xid = round, .procedure = kCreate})) break;
          auto reply = client.Receive(200);
          if (!reply) continue;
          if (reply->success() && reply->xid == round) ++good;
          break;
        }
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, kClients * kRounds);
  EXPECT_EQ(echo_->executed(), static_cast<uint64_t>(kRounds));
}

ReplyCache::Bytes Reply(size_t size_bytes) {
  return std::make_shared<const std::vector<std::byte>>(size_bytes);
}

CallId Id(uint64_t client, uint32_t xid) { return {.client = client, .xid = xid, .checksum = 7}; }

TEST(ReplyCacheTest, TheOldestOfAClientGoFirst) {
  ReplyCache cache({.entries_max = 100, .client_entries_max = 4});
  for (uint32_t xid = 0; xid < 6; ++xid) {
    EXPECT_EQ(cache.Begin(Id(1, xid), nullptr).state, ReplyCache::State::kNew);
    cache.Finish(Id(1, xid), Reply(10));
  }
  EXPECT_EQ(cache.entries(), 4u);
  for (uint32_t xid = 0; xid < 6; ++xid)
    EXPECT_EQ(cache.Look(Id(1, xid), nullptr).state,
              xid < 2 ? ReplyCache::State::kNew : ReplyCache::State::kDone);
}

TEST(ReplyCacheTest, WhatRunsIsNeverForgotten) {
  ReplyCache cache({.entries_max = 8, .client_entries_max = 4});
  for (uint32_t xid = 0; xid < 20; ++xid) cache.Begin(Id(1, xid), nullptr);
  for (uint32_t xid = 0; xid < 20; ++xid)
    EXPECT_EQ(cache.Begin(Id(1, xid), nullptr).state, ReplyCache::State::kRunning);
  for (uint32_t xid = 0; xid < 20; ++xid) cache.Finish(Id(1, xid), Reply(10));
  EXPECT_EQ(cache.entries(), 4u);
  EXPECT_EQ(cache.Look(Id(1, 19), nullptr).state, ReplyCache::State::kDone);
}

TEST(ReplyCacheTest, BytesAreBounded) {
  ReplyCache cache({.bytes_max = 100'000, .client_bytes_max = 50'000});
  for (uint32_t client = 0; client < 4; ++client) {
    for (uint32_t xid = 0; xid < 20; ++xid) {
      cache.Begin(Id(client, xid), nullptr);
      cache.Finish(Id(client, xid), Reply(5'000));
      EXPECT_LE(cache.bytes(), 100'000u);
    }
    EXPECT_EQ(cache.Look(Id(client, 19), nullptr).state, ReplyCache::State::kDone);
  }
  cache.Begin(Id(9, 1), nullptr);
  cache.Finish(Id(9, 1), Reply(60'000));  // more than a client may have
  EXPECT_EQ(cache.Look(Id(9, 1), nullptr).state, ReplyCache::State::kNew);
}

TEST(ReplyCacheTest, AClientDoesNotPushOutAnother) {
  ReplyCache cache({.entries_max = 1000, .client_entries_max = 900});
  for (uint32_t xid = 0; xid < 100; ++xid) {
    cache.Begin(Id(1, xid), nullptr);
    cache.Finish(Id(1, xid), Reply(10));
  }
  for (uint32_t xid = 0; xid < 5000; ++xid) {
    for (uint64_t greedy : {2, 3}) {
      cache.Begin(Id(greedy, xid), nullptr);
      cache.Finish(Id(greedy, xid), Reply(10));
    }
    ASSERT_LE(cache.entries(), 1000u);
  }
  for (uint32_t xid = 0; xid < 100; ++xid)
    EXPECT_EQ(cache.Look(Id(1, xid), nullptr).state, ReplyCache::State::kDone) << xid;
}

}  // namespace
}  // namespace prism::rpc
