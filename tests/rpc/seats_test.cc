// Who waits for events: calls that take long, foreseen or not, stop nobody; and workers that have
// followed a lone client are set free again.
#include <sched.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "server/rpc/pace.h"
#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

constexpr uint64_t kShortNs = 5'000, kLongNs = 1'000'000;

class SeatsTest : public RpcFixture {};

TEST_F(SeatsTest, ACallThatWaitsUnforeseenStopsNobody) {
  StartServer({.workers = 8});
  std::vector<RawClient> stuck;
  for (uint32_t i = 0; i < 7; ++i) {
    stuck.push_back(Connect());
    ASSERT_TRUE(stuck.back().SendCall({.xid = i, .procedure = kSlowEcho}));
    ASSERT_TRUE(Soon([&] { return echo_->blocked() == i + 1; }));
  }
  RawClient other = Connect();
  for (uint32_t i = 0; i < 1000; ++i)
    ASSERT_TRUE(other.Call({.xid = i, .procedure = kEcho})->success());
  echo_->Open(7);
  for (RawClient& client : stuck) EXPECT_TRUE(client.Receive());
  EXPECT_TRUE(Idle());
}

// Its worker keeps the seat, as the calls before it were short.
TEST_F(SeatsTest, ACallThatWaitsAfterManyThatDidNotStopsNobody) {
  StartServer({.workers = 4});
  RawClient client = Connect();
  echo_->Open(2000);
  for (uint32_t i = 0; i < 2000; ++i)
    ASSERT_TRUE(client.Call({.xid = i, .procedure = kBlock})->success());
  ASSERT_TRUE(client.SendCall({.procedure = kBlock}));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  RawClient other = Connect();
  for (uint32_t i = 0; i < 1000; ++i)
    ASSERT_TRUE(other.Call({.xid = i, .procedure = kEcho})->success());
  // On the same connection too.
  ASSERT_TRUE(client.Call({.procedure = kEcho})->success());
  echo_->Open(1);
  EXPECT_TRUE(client.Receive());
}

TEST_F(SeatsTest, ServesAfterALongSilence) {
  StartServer({.workers = 4});
  RawClient client = Connect();
  for (uint32_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(client.Call({.xid = i, .procedure = kEcho})->success());
    std::this_thread::sleep_for(std::chrono::milliseconds(150));  // the watch sleeps
    RawClient stuck = Connect();
    ASSERT_TRUE(stuck.SendCall({.procedure = kSlowEcho}));
    ASSERT_TRUE(client.Call({.xid = 100 + i, .procedure = kEcho})->success());
    echo_->Open(1);
    ASSERT_TRUE(stuck.Receive());
  }
}

// Of the threads that may not run everywhere where this one may.
int BoundThreads() {
  cpu_set_t all;
  CPU_ZERO(&all);
  EXPECT_EQ(::sched_getaffinity(0, sizeof all, &all), 0);
  int bound = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    cpu_set_t its;
    CPU_ZERO(&its);
    if (::sched_getaffinity(std::stoi(task.path().filename()), sizeof its, &its) == 0)
      bound += CPU_EQUAL(&its, &all) ? 0 : 1;
  }
  return bound;
}

TEST_F(SeatsTest, WhoHasFollowedALoneClientIsFreeAgain) {
  StartServer({.workers = 2});
  RawClient lone = Connect();
  for (uint32_t i = 0; i < 20'000; ++i)
    ASSERT_TRUE(lone.Call({.xid = i, .procedure = kEcho})->success());
  EXPECT_LE(BoundThreads(), 2);
  RawClient first = Connect();
  RawClient second = Connect();
  EXPECT_TRUE(Soon([&] {
    EXPECT_TRUE(first.Call({.procedure = kEcho})->success());
    EXPECT_TRUE(second.Call({.procedure = kEcho})->success());
    return BoundThreads() == 0;
  }));
}

TEST(PaceTest, OneThatTookLongIsRemembered) {
  Pace pace(/*slow=*/false);
  for (int i = 0; i < 100; ++i) pace.Learn(kShortNs);
  EXPECT_FALSE(pace.slow());
  pace.Learn(kLongNs);
  for (int i = 0; i < 15; ++i) {
    EXPECT_TRUE(pace.slow());
    pace.Learn(kShortNs);
  }
  for (int i = 0; i < 20; ++i) pace.Learn(kShortNs);
  EXPECT_FALSE(pace.slow());
}

TEST(PaceTest, WhatMayBlockIsSlowUntilItHasShownOtherwise) {
  Pace pace(/*slow=*/true);
  EXPECT_TRUE(pace.slow());
  for (int i = 0; i < 40; ++i) pace.Learn(kShortNs);
  EXPECT_FALSE(pace.slow());
}

}  // namespace
}  // namespace prism::rpc
