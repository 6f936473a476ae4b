// Requests that wait: callbacks, clients that ask again, that cancel, that cannot be called.
#include <thread>

#include "tests/nlm/nlm_fixture.h"

namespace prism::nlm {
namespace {

using rpc::Soon;

class CallbackTest : public NlmTest {
 protected:
  void SetUp() override {
    client_ = std::make_unique<ClientPrograms>("127.0.0.2");
    callback_port_ = client_->port();
    NlmTest::SetUp();
  }
  bool Held(const std::string& ip = "127.0.0.7") { return Test({}, ip).status == NLM4_DENIED; }

  std::unique_ptr<ClientPrograms> client_;
};

TEST_F(CallbackTest, AWaitingClientIsCalledBack) {
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  const LockSpec wanted{.cookie = "my cookie", .block = true, .svid = 5, .offset = 7, .length = 9};
  EXPECT_EQ(Lock(wanted), NLM4_BLOCKED);
  EXPECT_EQ(Lock(wanted), NLM4_BLOCKED);  // a retransmission is the same request
  EXPECT_TRUE(client_->granted().empty());
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  ASSERT_TRUE(Soon([&] { return client_->granted().size() == 1; }));
  const auto granted = client_->granted()[0];
  EXPECT_EQ(granted.cookie, "my cookie");
  EXPECT_EQ(granted.caller_name, "client");
  EXPECT_EQ(granted.handle, handle_);
  EXPECT_EQ(granted.oh, "owner");
  EXPECT_TRUE(granted.exclusive);
  EXPECT_EQ(granted.svid, 5u);
  EXPECT_EQ(granted.offset, 7u);
  EXPECT_EQ(granted.length, 9u);
  EXPECT_TRUE(Held());
  EXPECT_EQ(Unlock({.svid = 5}), NLM4_GRANTED);
  EXPECT_FALSE(Held());
}

TEST_F(CallbackTest, AMountsUnlockServesTheNetwork) {
  ASSERT_EQ(MountLocks(fs::LockKind::kFlock, fs::LockType::kExclusive), Err::kOk);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  mount_.reset();  // the mount dies
  EXPECT_TRUE(Soon([&] { return client_->granted().size() == 1; }));
}

TEST_F(CallbackTest, AClientThatDoesNotWantItAnyMoreGivesItBack) {
  client_->AnswerGranted(NLM4_DENIED);
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_TRUE(Soon([&] { return client_->granted().size() == 1 && !Held(); }));
}

TEST_F(CallbackTest, AClientThatCannotBeCalledLosesItAfterSomeAttempts) {
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}, "127.0.0.4"), NLM4_BLOCKED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_TRUE(Soon([&] { return !Held(); }));
}

TEST_F(CallbackTest, AClientInGraceIsCalledAgain) {
  client_->AnswerGranted(NLM4_DENIED_GRACE_PERIOD);
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  ASSERT_TRUE(Soon([&] { return client_->granted().size() == 1; }));
  client_->AnswerGranted(NLM4_GRANTED);
  ASSERT_TRUE(Soon([&] { return client_->granted().size() == 2; }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_EQ(client_->granted().size(), 2u);
  EXPECT_TRUE(Held());
}

class UnreachableTest : public NlmTest {
 protected:
  void SetUp() override {
    granted_attempts_ = 1000;  // for the time of a test it is being told
    NlmTest::SetUp();
  }
};

TEST_F(UnreachableTest, AClientThatAsksAgainHasIt) {
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_GRANTED);
  EXPECT_EQ(Test({}, "127.0.0.3").status, NLM4_DENIED);
}

TEST_F(UnreachableTest, CancelTakesItOutOfTheQueue) {
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Call(NLMPROC4_CANCEL, {.block = true}), NLM4_DENIED);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  EXPECT_EQ(Call(NLMPROC4_CANCEL, {.block = true, .svid = 2}), NLM4_DENIED);
  EXPECT_EQ(Call(NLMPROC4_CANCEL, {.block = true}), NLM4_GRANTED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Test({}, "127.0.0.3").status, NLM4_GRANTED);
  // One that has been granted meanwhile is given back.
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Test({}, "127.0.0.3").status, NLM4_DENIED);
  EXPECT_EQ(Call(NLMPROC4_CANCEL, {.block = true}), NLM4_GRANTED);
  EXPECT_EQ(Test({}, "127.0.0.3").status, NLM4_GRANTED);
}

TEST_F(UnreachableTest, ARestartedMachineDoesNotWaitAnyMore) {
  ASSERT_EQ(Lock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true}), NLM4_BLOCKED);
  Notify("client");
  EXPECT_EQ(Unlock({}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Test({}, "127.0.0.3").status, NLM4_GRANTED);
}

TEST_F(UnreachableTest, CirclesAreDeadlocks) {
  EXPECT_EQ(Lock({.length = 1}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.offset = 1, .length = 1}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.block = true, .offset = 1, .length = 1}), NLM4_BLOCKED);
  EXPECT_EQ(Lock({.block = true, .length = 1}, "127.0.0.3"), NLM4_DEADLCK);
}

TEST(CallbackPoolTest, AnAddressHasOneThreadAtATime) {
  CallbackPool pool({.threads = 2});
  rpc::PeerAddress slow, quick;
  slow.ip[15] = 1;
  quick.ip[15] = 2;
  std::atomic<bool> open = false;
  std::atomic<int> of_slow = 0, of_quick = 0;
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(pool.Run(slow, std::chrono::milliseconds(0), [&] {
      ++of_slow;
      while (!open) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }));
  for (int i = 0; i < 3; ++i)
    EXPECT_TRUE(pool.Run(quick, std::chrono::milliseconds(i), [&] { ++of_quick; }));
  EXPECT_TRUE(Soon([&] { return of_quick == 3; }));
  EXPECT_EQ(of_slow, 1);
  open = true;
  EXPECT_TRUE(Soon([&] { return of_slow == 3; }));
  pool.Stop();
  EXPECT_FALSE(pool.Run(quick, std::chrono::milliseconds(0), [] {}));
}

TEST_F(CallbackTest, MessagesAreAnsweredByCalls) {
  const struct {
    uint32_t message;
    uint32_t result;
    uint32_t status;
  } kSteps[] = {{NLMPROC4_LOCK_MSG, NLMPROC4_LOCK_RES, NLM4_GRANTED},
                {NLMPROC4_TEST_MSG, NLMPROC4_TEST_RES, NLM4_GRANTED},
                {NLMPROC4_CANCEL_MSG, NLMPROC4_CANCEL_RES, NLM4_DENIED},
                {NLMPROC4_UNLOCK_MSG, NLMPROC4_UNLOCK_RES, NLM4_GRANTED}};
  size_t count = 0;
  for (const auto& step : kSteps) {
    const auto reply = Raw(kNlmProgram, step.message, ArgsOf(step.message, {.cookie = "async"}));
    ASSERT_TRUE(reply && reply->success() && reply->body.empty()) << step.message;
    ++count;
    ASSERT_TRUE(Soon([&] { return client_->results().size() == count; })) << step.message;
    EXPECT_EQ(client_->results().back().procedure, step.result);
    EXPECT_EQ(client_->results().back().cookie, "async");
    EXPECT_EQ(client_->results().back().status, step.status) << step.message;
  }
}

}  // namespace
}  // namespace prism::nlm
