// Calls and their answers: what RFC 5531 says about each.
#include <thread>

#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

class CallTest : public RpcFixture {};

TEST_F(CallTest, NullAndEcho) {
  StartServer();
  EXPECT_NE(server_->address().port, 0);
  RawClient client = Connect();
  auto null = client.Call({.xid = 7, .procedure = kNull});
  ASSERT_TRUE(null);
  EXPECT_TRUE(null->success());
  EXPECT_EQ(null->xid, 7u);
  EXPECT_TRUE(null->body.empty());
  auto echo = client.Call({.xid = 8, .procedure = kEcho, .args = Words({1, 2, 3})});
  ASSERT_TRUE(echo);
  EXPECT_EQ(echo->xid, 8u);
  EXPECT_EQ(echo->body, Words({1, 2, 3}));
  EXPECT_EQ(Stats().calls, 2u);
  EXPECT_EQ(Stats().errors, 0u);
  EXPECT_EQ(Stats().bytes_in, 2 * 44u + 12);
  EXPECT_TRUE(Soon([&] { return Stats().bytes_out == 2 * 28u + 12; }));  // counted after it is sent
  EXPECT_TRUE(Idle());
}

TEST_F(CallTest, SeveralProgramsAndVersionsOnOnePort) {
  auto old_version = std::make_shared<EchoProgram>(kEchoProgram, 1);
  auto other = std::make_shared<EchoProgram>(kEchoProgram + 1, 4);
  StartServer({.programs = {echo_, old_version, other}});
  RawClient client = Connect();
  EXPECT_TRUE(client.Call({.version = 3, .procedure = kEcho})->success());
  EXPECT_TRUE(client.Call({.version = 1, .procedure = kEcho})->success());
  EXPECT_TRUE(
      client.Call({.program = kEchoProgram + 1, .version = 4, .procedure = kEcho})->success());
  EXPECT_EQ(echo_->echoed(), 1u);
  EXPECT_EQ(old_version->echoed(), 1u);
  EXPECT_EQ(other->echoed(), 1u);

  auto mismatch = client.Call({.version = 2, .procedure = kNull});
  EXPECT_EQ(mismatch->detail, 2u);  // PROG_MISMATCH
  EXPECT_EQ(mismatch->body, Words({1, 3}));
  mismatch = client.Call({.program = kEchoProgram + 1, .version = 3, .procedure = kEcho});
  EXPECT_EQ(mismatch->body, Words({4, 4}));
  auto unavailable = client.Call({.program = 99, .procedure = kNull});
  EXPECT_EQ(unavailable->detail, 1u);  // PROG_UNAVAIL
  EXPECT_EQ(Stats().errors, 3u);
}

TEST_F(CallTest, ProceduresThatDoNotExist) {
  StartServer();
  RawClient client = Connect();
  for (uint32_t procedure : {uint32_t{kGap}, 12u, 0xffffffffu}) {
    auto reply = client.Call({.procedure = procedure});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->stat, 0u);
    EXPECT_EQ(reply->detail, 3u) << procedure;  // PROC_UNAVAIL
  }
  auto garbage = client.Call({.procedure = kPayload, .args = {}});
  EXPECT_EQ(garbage->detail, 4u);  // GARBAGE_ARGS
  EXPECT_TRUE(garbage->body.empty());
}

TEST_F(CallTest, AnotherRpcVersionIsDenied) {
  StartServer();
  RawClient client = Connect();
  auto reply = client.Call({.xid = 5, .rpc_version = 3});
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->stat, 1u);    // MSG_DENIED
  EXPECT_EQ(reply->detail, 0u);  // RPC_MISMATCH
  EXPECT_EQ(reply->body, Words({2, 2}));
  // Nothing behind the version is looked at.
  ASSERT_TRUE(client.Send(Marked(Words({6, 0, 9}))));
  reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->xid, 6u);
  EXPECT_TRUE(client.Call({})->success());
}

TEST_F(CallTest, CredentialsOfAuthSys) {
  StartServer();
  RawClient client = Connect();
  auto who = client.Call(
      {.procedure = kWho, .flavor = 1, .credentials = AuthSys(1000, 100, {4, 24, 27}, "guest-7")});
  ASSERT_TRUE(who && who->success());
  EXPECT_EQ(who->body, Joined({Words({1000, 100, 3, 4, 24, 27, 7}), [] {
                                 Bytes name;
                                 XdrWriter(name).FixedOpaque(
                                     std::as_bytes(std::span(std::string_view("guest-7"))));
                                 return name;
                               }()}));
  who = client.Call({.procedure = kWho});
  EXPECT_EQ(who->body, Words({kNobody, kNobody, 0, 0}));
  std::vector<uint32_t> sixteen(16, 5);
  who = client.Call({.procedure = kWho, .flavor = 1, .credentials = AuthSys(1, 2, sixteen, "")});
  EXPECT_EQ(who->word(2), 16u);
}

TEST_F(CallTest, BadCredentialsAreDenied) {
  StartServer();
  RawClient client = Connect();
  auto denied = [&](const CallSpec& spec) {
    auto reply = client.Call(spec);
    if (!reply || reply->stat != 1 || reply->detail != 1) return 99u;  // MSG_DENIED, AUTH_ERROR
    return reply->word();
  };
  const std::vector<uint32_t> seventeen(17, 5);
  Bytes long_name = AuthSys(1, 2, {}, std::string(256, 'x'));
  Bytes trailing = Joined({AuthSys(1, 2, {3}, "m"), Words({0})});
  Bytes short_one = AuthSys(1, 2, {3}, "m");
  short_one.resize(short_one.size() - 4);
  Bytes many = Words({0, 0, 1, 2, 0x40000000});
  for (const Bytes& bad :
       {AuthSys(1, 2, seventeen, "m"), long_name, trailing, short_one, many, Bytes()})
    EXPECT_EQ(denied({.procedure = kEcho, .flavor = 1, .credentials = bad}), 1u);  // AUTH_BADCRED
  for (uint32_t flavor : {2u, 3u, 6u, 7u, 0xffffffffu})  // AUTH_SHORT, _DH, RPCSEC_GSS, _TLS
    EXPECT_EQ(denied({.flavor = flavor, .credentials = Words({1, 2})}), 2u);  // AUTH_REJECTEDCRED
  EXPECT_EQ(denied({.verifier_flavor = 1}), 3u);                              // AUTH_BADVERF
  EXPECT_EQ(denied({.verifier = Words({1})}), 3u);
  EXPECT_EQ(echo_->echoed(), 0u);
  EXPECT_TRUE(client.Call({})->success());  // the connection lives on
}

TEST_F(CallTest, PaddingIsZero) {
  StartServer();
  RawClient client = Connect();
  for (size_t at : {9u, 10u, 11u}) {  // behind "m", the machine's name
    Bytes credentials = AuthSys(1, 2, {}, "m");
    credentials[at] = std::byte{1};
    auto reply = client.Call({.procedure = kWho, .flavor = 1, .credentials = credentials});
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->stat, 1u);
    EXPECT_EQ(reply->word(), 1u);  // AUTH_BADCRED
  }
}

TEST_F(CallTest, PayloadIsSentFromWhereItIs) {
  StartServer();
  RawClient client = Connect();
  for (uint32_t size_bytes : {0u, 1u, 2u, 3u, 4u, 5u, 4096u, 1u << 20, (1u << 20) + 3}) {
    auto reply =
        client.Call({.xid = size_bytes, .procedure = kPayload, .args = Words({size_bytes})});
    ASSERT_TRUE(reply && reply->success());
    ASSERT_EQ(reply->body.size(), 4 + XdrPadded(size_bytes));
    EXPECT_EQ(reply->word(), size_bytes);
    for (size_t i = 0; i < size_bytes; ++i)
      ASSERT_EQ(reply->body[4 + i], static_cast<std::byte>(i * 7));
    for (size_t i = size_bytes; i < XdrPadded(size_bytes); ++i)
      ASSERT_EQ(reply->body[4 + i], std::byte{0});
  }
  EXPECT_TRUE(Soon([] { return EchoProgram::payloads == 0; }));
  EXPECT_TRUE(Idle());
}

TEST_F(CallTest, LargeArguments) {
  StartServer();
  RawClient client = Connect();
  Bytes args(1 << 20);
  for (size_t i = 0; i < args.size(); ++i) args[i] = static_cast<std::byte>(i * 13);
  for (int i = 0; i < 3; ++i) {
    for (uint32_t procedure : {kEcho, kBlock}) {
      echo_->Open(procedure == kBlock);
      auto reply = client.Call({.procedure = procedure, .args = args});
      ASSERT_TRUE(reply && reply->success());
      ASSERT_TRUE(reply->body == args);
    }
  }
  EXPECT_TRUE(Idle());
}

TEST_F(CallTest, RepliesComeOutOfOrder) {
  StartServer();
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall({.xid = 1, .procedure = kBlock, .args = Words({11})}));
  ASSERT_TRUE(client.SendCall({.xid = 2, .procedure = kBlock, .args = Words({22})}));
  ASSERT_TRUE(client.SendCall({.xid = 3, .procedure = kEcho, .args = Words({33})}));
  auto first = client.Receive();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->xid, 3u);
  EXPECT_TRUE(Soon([&] { return echo_->blocked() == 2; }));
  echo_->Open(2);
  uint32_t seen = 0;
  for (int i = 0; i < 2; ++i) {
    auto reply = client.Receive();
    ASSERT_TRUE(reply);
    EXPECT_EQ(reply->word(), reply->xid * 11);
    seen |= reply->xid;
  }
  EXPECT_EQ(seen, 3u);
}

TEST_F(CallTest, ManyCallsInOneSegmentAreAllAnswered) {
  StartServer({.workers = 2});
  RawClient client = Connect();
  constexpr uint32_t kCalls = 1000;
  Bytes all;
  for (uint32_t i = 0; i < kCalls; ++i) {
    Bytes call = Marked(EncodeCall({.xid = i, .procedure = kEcho, .args = Words({i})}));
    all.insert(all.end(), call.begin(), call.end());
  }
  ASSERT_TRUE(client.Send(all));
  for (uint32_t i = 0; i < kCalls; ++i) {
    auto reply = client.Receive();
    ASSERT_TRUE(reply) << i;
    EXPECT_EQ(reply->xid, i);
    EXPECT_EQ(reply->word(), i);
  }
}

TEST_F(CallTest, ManyConnectionsAtOnce) {
  StartServer({.workers = 4});
  std::vector<std::thread> clients;
  std::atomic<uint32_t> good = 0;
  for (uint32_t c = 0; c < 8; ++c) {
    clients.emplace_back([&, c] {
      RawClient client = Connect();
      for (uint32_t i = 0; i < 200; ++i) {
        const uint32_t procedure = i % 5 == 0 ? kBlock : i % 5 == 1 ? kCreate : kEcho;
        if (procedure == kBlock) echo_->Open(1);
        auto reply = client.Call({.xid = i, .procedure = procedure, .args = Words({c, i})});
        if (reply && reply->success() && reply->xid == i &&
            (procedure == kCreate || reply->body == Words({c, i})))
          ++good;
      }
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(good, 8 * 200u);
  EXPECT_EQ(echo_->executed(), 8 * 40u);
  EXPECT_TRUE(Idle());
}

TEST_F(CallTest, Ipv6AndBadAddresses) {
  auto server = RpcServer::Start({.listen = "[::1]:0", .programs = {echo_}});
  ASSERT_TRUE(server) << server.error().message;
  RawClient client((*server)->address());
  ASSERT_TRUE(client.connected());
  EXPECT_TRUE(client.Call({})->success());
  auto dual = RpcServer::Start({.listen = "[::]:0", .programs = {echo_}});
  ASSERT_TRUE(dual);
  PeerAddress v4 = *ParseEndpoint("127.0.0.1:1");
  v4.port = (*dual)->address().port;
  EXPECT_TRUE(RawClient(v4).Call({})->success());
  for (const char* bad : {"", "127.0.0.1", "localhost:1", "127.0.0.1:", "127.0.0.1:65536", ":2049",
                          "[::1:5", "::1:x", "1.2.3:4", "127.0.0.1:-1"})
    EXPECT_EQ(test::ErrOf(RpcServer::Start({.listen = bad, .programs = {echo_}})), Err::kInvalid)
        << bad;
  auto taken =
      RpcServer::Start({.listen = EndpointText((*server)->address()), .programs = {echo_}});
  EXPECT_FALSE(taken);
}

TEST_F(CallTest, AddressesHaveText) {
  EXPECT_EQ(ParseEndpoint("10.0.0.7:2049")->Text(), "10.0.0.7");
  EXPECT_TRUE(ParseEndpoint("10.0.0.7:2049")->IsV4());
  EXPECT_EQ(ParseEndpoint("[fd00::7]:2049")->Text(), "fd00::7");
  EXPECT_FALSE(ParseEndpoint("[fd00::7]:2049")->IsV4());
  EXPECT_TRUE(ParseEndpoint("127.3.4.5:1")->IsLoopback());
  EXPECT_TRUE(ParseEndpoint("[::1]:1")->IsLoopback());
  EXPECT_FALSE(ParseEndpoint("[::2]:1")->IsLoopback());
  EXPECT_FALSE(ParseEndpoint("128.0.0.1:1")->IsLoopback());
  EXPECT_EQ(EndpointText(*ParseEndpoint("[fd00::7]:2049")), "[fd00::7]:2049");
}

TEST_F(CallTest, StopFinishesWhatRuns) {
  StartServer({.workers = 2});
  RawClient client = Connect();
  ASSERT_TRUE(client.SendCall({.procedure = kBlock}));
  ASSERT_TRUE(Soon([&] { return echo_->blocked() == 1; }));
  std::thread stopper([&] { server_->Stop(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  echo_->Open(1);
  stopper.join();
  auto reply = client.Receive();
  ASSERT_TRUE(reply);
  EXPECT_TRUE(reply->success());
  EXPECT_TRUE(client.ClosedWithin());
}

}  // namespace
}  // namespace prism::rpc
