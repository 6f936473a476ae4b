// Restarts of the server: who is told, who may lock meanwhile.
#include <thread>

#include "tests/nlm/nlm_fixture.h"

namespace prism::nlm {
namespace {

using rpc::Soon;

TEST_F(NlmTest, WithoutLocksThereIsNoGrace) {
  EXPECT_EQ(Lock({.reclaim = true}), NLM4_DENIED_GRACE_PERIOD);
  Restart();
  EXPECT_EQ(Lock({}), NLM4_GRANTED);
}

TEST_F(NlmTest, AfterARestartLocksCanOnlyBeReclaimed) {
  ASSERT_EQ(Lock({.length = 5}), NLM4_GRANTED);
  Restart();
  EXPECT_EQ(Lock({}, "127.0.0.3"), NLM4_DENIED_GRACE_PERIOD);
  EXPECT_EQ(Test({}, "127.0.0.3").status, NLM4_DENIED_GRACE_PERIOD);
  EXPECT_EQ(Lock({.length = 5}), NLM4_DENIED_GRACE_PERIOD);
  EXPECT_EQ(Lock({.length = 5, .reclaim = true}), NLM4_GRANTED);
  EXPECT_EQ(MountLocks(fs::LockKind::kPosix, fs::LockType::kExclusive), Err::kAgain);
  EXPECT_EQ(Unlock({}), NLM4_GRANTED);
}

TEST_F(NlmTest, TheGracePeriodEnds) {
  ASSERT_EQ(Lock({}), NLM4_GRANTED);
  Restart(300);
  EXPECT_EQ(Lock({}, "127.0.0.3"), NLM4_DENIED_GRACE_PERIOD);
  EXPECT_TRUE(Soon([&] { return Lock({}, "127.0.0.3") == NLM4_GRANTED; }));
  EXPECT_EQ(Lock({.reclaim = true}), NLM4_DENIED_GRACE_PERIOD);
  EXPECT_EQ(Lock({}), NLM4_DENIED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  // Who did not come back is not told again.
  EXPECT_TRUE(Soon([&] {
    auto rows = host_->Settings("nlm/host/");
    return rows && rows->size() == 2;  // 127.0.0.3, and 127.0.0.2 that has asked since
  }));
}

TEST_F(NlmTest, WhoHadLocksIsToldOfTheRestart) {
  ClientPrograms client("127.0.0.2");
  callback_port_ = client.port();
  rpc::Bytes name;
  rpc::XdrWriter(name).String("x");
  const auto before = Raw(kNsmProgram, SM_STAT, name);
  ASSERT_TRUE(before && before->success());
  ASSERT_EQ(Lock({}), NLM4_GRANTED);
  EXPECT_TRUE(client.notices().empty());
  Restart();
  ASSERT_TRUE(Soon([&] { return client.notices().size() == 2; }));
  EXPECT_EQ(client.notices()[0].name, "127.0.0.1");  // how the machine sees the server
  EXPECT_EQ(client.notices()[0].state, before->word(1) + 2);
  EXPECT_EQ(client.notices()[1].state, before->word(1) + 2);
}

TEST_F(NlmTest, AMachineThatFreedAllIsNotToldAndThereIsNoGrace) {
  ASSERT_EQ(Lock({}), NLM4_GRANTED);
  Notify("client");
  Restart();
  EXPECT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
}

TEST_F(NlmTest, AMachineThatComesLaterIsToldAsWell) {
  ASSERT_EQ(Lock({}), NLM4_GRANTED);
  callback_port_ = ClientPrograms("127.0.0.2").port();  // free again now
  Restart(2000);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ClientPrograms late("127.0.0.2", callback_port_);
  EXPECT_TRUE(Soon([&] { return !late.notices().empty(); }));
}

}  // namespace
}  // namespace prism::nlm
