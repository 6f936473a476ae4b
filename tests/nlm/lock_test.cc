// NLM's procedures, and their agreement with a mount's locks.
#include "tests/nlm/nlm_fixture.h"

namespace prism::nlm {
namespace {

TEST_F(NlmTest, LocksConflictByOwnerMachineAndRange) {
  EXPECT_EQ(Lock({.offset = 0, .length = 10}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.offset = 5, .length = 1}), NLM4_GRANTED);  // its own
  EXPECT_EQ(Lock({.svid = 2, .offset = 9, .length = 1}), NLM4_DENIED);
  EXPECT_EQ(Lock({.oh = "another", .offset = 9, .length = 1}), NLM4_DENIED);
  EXPECT_EQ(Lock({.caller = "another", .offset = 9, .length = 1}), NLM4_DENIED);
  EXPECT_EQ(Lock({.offset = 9, .length = 1}, "127.0.0.3"), NLM4_DENIED);
  EXPECT_EQ(Lock({.offset = 10, .length = 0}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Unlock({.offset = 0, .length = 0}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.exclusive = false, .offset = 0, .length = 5}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.exclusive = false, .offset = 0, .length = 5}), NLM4_GRANTED);
  EXPECT_EQ(Call(NLMPROC4_NM_LOCK, {.svid = 9, .offset = 4, .length = 1}), NLM4_DENIED);
}

TEST_F(NlmTest, TestingNamesTheHolder) {
  EXPECT_EQ(Test({}).status, NLM4_GRANTED);
  EXPECT_EQ(Lock({.exclusive = false, .oh = "somebody", .svid = 77, .offset = 3, .length = 4}),
            NLM4_GRANTED);
  EXPECT_EQ(Test({.exclusive = false}, "127.0.0.3").status, NLM4_GRANTED);
  const TestAnswer answer = Test({}, "127.0.0.3");
  EXPECT_EQ(answer.status, NLM4_DENIED);
  EXPECT_FALSE(answer.holder.exclusive);
  EXPECT_EQ(answer.holder.svid, 77u);
  EXPECT_EQ(answer.holder.oh, "somebody");
  EXPECT_EQ(answer.holder.offset, 3u);
  EXPECT_EQ(answer.holder.length, 4u);
}

TEST_F(NlmTest, MountsAndNetworkClientsSeeEachOther) {
  for (fs::LockKind kind : {fs::LockKind::kPosix, fs::LockKind::kFlock}) {
    EXPECT_EQ(MountLocks(kind, fs::LockType::kExclusive), Err::kOk);
    EXPECT_EQ(Lock({}), NLM4_DENIED);
    EXPECT_EQ(Test({}).status, NLM4_DENIED);
    EXPECT_EQ(MountLocks(kind, fs::LockType::kUnlock), Err::kOk);
    EXPECT_EQ(Lock({}), NLM4_GRANTED);
    EXPECT_EQ(MountLocks(kind, fs::LockType::kShared), Err::kAgain);
    EXPECT_EQ(Unlock({}), NLM4_GRANTED);
  }
}

TEST_F(NlmTest, RangesToTheEndAndBeyond) {
  constexpr uint64_t kHalf = uint64_t{1} << 63;
  EXPECT_EQ(Lock({.offset = kHalf, .length = 1}), NLM4_FBIG);
  EXPECT_EQ(Lock({.offset = 100, .length = ~uint64_t{0} - 100}), NLM4_GRANTED);
  EXPECT_EQ(Test({.offset = kHalf - 1, .length = 1}, "127.0.0.3").status, NLM4_DENIED);
  EXPECT_EQ(Lock({.offset = 99, .length = 1}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Unlock({.offset = 100, .length = 0}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.offset = kHalf - 1, .length = 1}, "127.0.0.3"), NLM4_GRANTED);
}

TEST_F(NlmTest, HandlesAndRulesAreChecked) {
  const std::string good = handle_;
  handle_ = std::string(36, 'x');
  EXPECT_EQ(Lock({}), NLM4_STALE_FH);
  handle_ = StringOf(handles_->Encode({volume_, ino_ + 1000}));
  EXPECT_EQ(Lock({}), NLM4_STALE_FH);
  EXPECT_EQ(Test({}).status, NLM4_STALE_FH);
  handle_ = good;
  test::Must(exports_->SetRules("volume", "127.0.0.2(ro,insecure)"));
  EXPECT_EQ(Lock({}), NLM4_ROFS);
  EXPECT_EQ(Lock({.exclusive = false}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.exclusive = false}, "127.0.0.3"), NLM4_FAILED);
  test::Must(exports_->SetRules("volume", "*(rw)"));
  EXPECT_EQ(Lock({}), NLM4_FAILED);  // not from a privileged port
}

TEST_F(NlmTest, ARemovedFileAndADestroyedVolumeAreStale) {
  EXPECT_EQ(Lock({}), NLM4_GRANTED);
  test::Must(mount_->Unlink({}, kRootInode, "f"));
  EXPECT_EQ(Lock({.svid = 2}), NLM4_STALE_FH);
  test::Must(host_->Destroy({"volume"}));
  EXPECT_EQ(Lock({}), NLM4_STALE_FH);
  EXPECT_EQ(Unlock({}), NLM4_STALE_FH);
}

TEST_F(NlmTest, SharesExcludeEachOther) {
  auto share = [&](uint32_t procedure, const std::string& caller, uint32_t mode, uint32_t access) {
    rpc::Bytes args;
    rpc::XdrWriter out(args);
    out.String("c");
    out.String(caller);
    out.String(handle_);
    out.String("oh");
    out.U32(mode);
    out.U32(access);
    out.Bool(false);
    const auto reply = Raw(kNlmProgram, procedure, args);
    return reply && reply->success() ? reply->word(2) : 99;
  };
  EXPECT_EQ(share(NLMPROC4_SHARE, "a", 2, 1), NLM4_GRANTED);  // reads, denies writing
  EXPECT_EQ(share(NLMPROC4_SHARE, "b", 0, 2), NLM4_DENIED);
  EXPECT_EQ(share(NLMPROC4_SHARE, "b", 1, 1), NLM4_DENIED);
  EXPECT_EQ(share(NLMPROC4_SHARE, "b", 0, 1), NLM4_GRANTED);
  EXPECT_EQ(share(NLMPROC4_UNSHARE, "a", 0, 0), NLM4_GRANTED);
  EXPECT_EQ(share(NLMPROC4_SHARE, "b", 0, 3), NLM4_GRANTED);
  EXPECT_EQ(share(NLMPROC4_SHARE, "a", 2, 1), NLM4_DENIED);
  Notify("b");
  EXPECT_EQ(share(NLMPROC4_SHARE, "a", 2, 1), NLM4_GRANTED);
}

TEST_F(NlmTest, AMachineThatRestartsLosesItsLocks) {
  EXPECT_EQ(Lock({.caller = "one.example", .length = 1}), NLM4_GRANTED);
  EXPECT_EQ(Lock({.caller = "two", .offset = 1, .length = 1}), NLM4_GRANTED);
  Notify("one", "127.0.0.9");  // another machine of that name
  EXPECT_EQ(Lock({.length = 1}, "127.0.0.3"), NLM4_DENIED);
  Notify("one");
  EXPECT_EQ(Lock({.length = 1}, "127.0.0.3"), NLM4_GRANTED);
  EXPECT_EQ(Lock({.offset = 1, .length = 1}, "127.0.0.3"), NLM4_DENIED);
  Notify("two", "127.0.0.2", kNlmProgram);  // FREE_ALL
  EXPECT_EQ(Lock({.offset = 1, .length = 1}, "127.0.0.3"), NLM4_GRANTED);
}

TEST_F(NlmTest, NsmAnswersWhatItShould) {
  rpc::Bytes name;
  rpc::XdrWriter(name).String("anybody");
  auto stat = Raw(kNsmProgram, SM_STAT, name);
  ASSERT_TRUE(stat && stat->success());
  EXPECT_EQ(stat->word(0), 1u);      // it does not watch
  EXPECT_EQ(stat->word(1) % 2, 1u);  // it is up
  auto again = Raw(kNsmProgram, SM_UNMON_ALL, {});
  ASSERT_TRUE(again && again->success());
  EXPECT_EQ(again->word(0), stat->word(1));
  const uint32_t before = stat->word(1);
  Restart();
  stat = Raw(kNsmProgram, SM_STAT, name);
  ASSERT_TRUE(stat && stat->success());
  EXPECT_EQ(stat->word(1), before + 2);
}

}  // namespace
}  // namespace prism::nlm
