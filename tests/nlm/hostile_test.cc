// What no correct client sends, and bounds.
#include "tests/model/model_host.h"
#include "tests/nlm/nlm_fixture.h"

namespace prism::nlm {
namespace {

constexpr uint32_t kGarbageArgs = 4;

TEST_F(NlmTest, CutArgumentsAreGarbage) {
  for (uint32_t procedure :
       {uint32_t{NLMPROC4_TEST}, uint32_t{NLMPROC4_LOCK}, uint32_t{NLMPROC4_CANCEL},
        uint32_t{NLMPROC4_UNLOCK}, uint32_t{NLMPROC4_LOCK_MSG}, uint32_t{NLMPROC4_NM_LOCK}}) {
    const rpc::Bytes args = ArgsOf(procedure, {});
    for (size_t size = 0; size < args.size(); size += 4) {
      auto reply = Raw(kNlmProgram, procedure, {args.begin(), args.begin() + size});
      ASSERT_TRUE(reply) << procedure << " " << size;
      EXPECT_EQ(reply->detail, kGarbageArgs) << procedure << " " << size;
    }
    rpc::Bytes longer = args;
    longer.resize(args.size() + 4);
    EXPECT_EQ(Raw(kNlmProgram, procedure, longer)->detail, kGarbageArgs) << procedure;
  }
  EXPECT_EQ(Lock({}), NLM4_GRANTED);
}

TEST_F(NlmTest, EveryProcedureAnswersAnything) {
  uint32_t state = 99;
  for (uint32_t program : {kNlmProgram, kNsmProgram}) {
    const uint32_t count = program == kNlmProgram ? kNlmProcedures : kNsmProcedures;
    for (uint32_t procedure = 0; procedure < count; ++procedure) {
      for (size_t words = 0; words < 40; words += 3) {
        std::vector<uint32_t> noise;
        for (size_t i = 0; i < words; ++i)
          noise.push_back((state = state * 1664525 + 1013904223) % (i % 2 ? 64 : 1u << 31));
        ASSERT_TRUE(Raw(program, procedure, rpc::Words(noise))) << program << " " << procedure;
      }
    }
  }
  EXPECT_EQ(Lock({}), NLM4_GRANTED);
}

TEST_F(NlmTest, LengthsAreBounded) {
  EXPECT_EQ(Lock({.cookie = std::string(kStringMax, 'c'), .oh = std::string(kStringMax, 'o')}),
            NLM4_GRANTED);
  EXPECT_EQ(Test({.oh = "x"}).holder.oh, std::string(kStringMax, 'o'));
  auto too_long = ArgsOf(NLMPROC4_LOCK, {.oh = std::string(kStringMax + 1, 'o')});
  EXPECT_EQ(Raw(kNlmProgram, NLMPROC4_LOCK, too_long)->detail, kGarbageArgs);
  EXPECT_EQ(Lock({.caller = std::string(kNameMax, 'n'), .offset = 9}), NLM4_DENIED);
  EXPECT_EQ(Lock({.caller = std::string(kNameMax + 1, 'n'), .offset = 9}), NLM4_DENIED_NOLOCKS);
}

TEST_F(NlmTest, NobodyIsWatchedForOthersAndNoGrantIsBelieved) {
  auto mon = Raw(kNsmProgram, SM_MON, {});
  ASSERT_TRUE(mon && mon->success());
  EXPECT_EQ(mon->word(0), 1u);
  EXPECT_EQ(Call(NLMPROC4_GRANTED, {}), NLM4_DENIED);
  auto crash = Raw(kNsmProgram, SM_SIMU_CRASH, {});
  EXPECT_TRUE(crash && crash->success());
}

TEST_F(NlmTest, AnUnprivilegedNoticeDoesNotSpeakForAPrivilegedMachine) {
  auto table = test::Must(HostTable::Open(*host_));
  HostTable& hosts = *table;
  rpc::PeerAddress peer;
  peer.ip[15] = 9;
  peer.port = 800;
  const uint64_t id = test::Must(hosts.Register(peer, "m"));
  peer.port = 40000;
  EXPECT_TRUE(hosts.Forget(peer, "m").empty());
  EXPECT_EQ(hosts.Find(peer, "m"), id);
  peer.port = 700;
  EXPECT_EQ(hosts.Forget(peer, "m"), std::vector<uint64_t>{id});
  EXPECT_EQ(hosts.Find(peer, "m"), 0u);
}

TEST_F(NlmTest, ManyMachinesAreBounded) {
  model::ModelHost host;  // whose disk is quick
  auto hosts = test::Must(HostTable::Open(host));
  rpc::PeerAddress peer;
  peer.port = 40000;
  for (size_t i = 0; i < HostTable::kMachinesMax; ++i) {
    peer.ip[15] = static_cast<uint8_t>(i / HostTable::kMachinesPerAddressMax);
    ASSERT_TRUE(hosts->Register(peer, "m" + std::to_string(i))) << i;
    if (i + 1 == HostTable::kMachinesPerAddressMax) {
      EXPECT_EQ(test::ErrOf(hosts->Register(peer, "one more")), Err::kNoLocks);
    }
  }
  EXPECT_TRUE(hosts->Register(peer, "m4095"));
  peer.ip[15] = 99;
  EXPECT_EQ(test::ErrOf(hosts->Register(peer, "one more")), Err::kNoLocks);
}

}  // namespace
}  // namespace prism::nlm
