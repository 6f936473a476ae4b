// The client, and the portmapper's client against one that lives in a RpcServer.
#include "server/rpc/portmap.h"

#include <poll.h>

#include <map>
#include <thread>

#include "tests/rpc/rpc_fixture.h"

namespace prism::rpc {
namespace {

Deadline In(int timeout_ms) {
  return std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
}

class FakePortmapper final : public Program {
 public:
  uint32_t number() const override { return 100000; }
  uint32_t version() const override { return 2; }
  std::string_view name() const override { return "portmapper"; }
  std::span<const Procedure> procedures() const override {
    static constexpr Procedure kRows[] = {{"NULL"}, {"SET"}, {"UNSET"}, {"GETPORT"}};
    return kRows;
  }
  void Run(uint32_t procedure, const Call& call, Reply& reply) override {
    XdrReader in(call.args);
    const uint64_t key = in.U64();
    const uint32_t protocol = in.U32();
    const uint32_t port = in.U32();
    if (!in.Finished() || protocol != 6) return reply.SetGarbageArgs();
    std::lock_guard lock(mutex_);
    if (procedure == 1)
      reply.out().Bool(!refuse_ && ports_.emplace(key, port).second);
    else if (procedure == 2)
      reply.out().Bool(ports_.erase(key) > 0);
    else
      reply.out().U32(ports_.contains(key) ? ports_[key] : 0);
  }
  void Refuse(uint32_t, Err, Reply&) override {}

  std::mutex mutex_;
  std::map<uint64_t, uint32_t> ports_;
  bool refuse_ = false;
};

class PortmapTest : public RpcFixture {
 protected:
  void SetUp() override {
    StartServer({.programs = {echo_, portmapper_}});
    options_ = {.socket_path = "", .address = EndpointText(server_->address()), .timeout_ms = 500};
  }
  uint16_t port() { return server_->address().port; }
  static uint64_t Key(uint32_t version) { return uint64_t{kEchoProgram} << 32 | version; }

  std::shared_ptr<FakePortmapper> portmapper_ = std::make_shared<FakePortmapper>();
  PortmapOptions options_;
};

TEST_F(PortmapTest, ProgramsAreRegisteredAsLongAsItLives) {
  {
    auto registration = PortmapRegistration::Register(
        {{kEchoProgram, 3, port()}, {kEchoProgram, 4, port()}}, options_);
    ASSERT_TRUE(registration) << registration.error().message;
    EXPECT_EQ(portmapper_->ports_.size(), 2u);
    EXPECT_EQ(*PortmapGetPort(server_->address(), kEchoProgram, 4, In(1000)), port());
    EXPECT_EQ(test::ErrOf(PortmapGetPort(server_->address(), kEchoProgram, 5, In(1000))),
              Err::kNoEntry);
    // The same again is not a conflict.
    EXPECT_TRUE(PortmapRegistration::Register({{kEchoProgram, 3, port()}}, options_));
    EXPECT_EQ(portmapper_->ports_.size(), 1u);
  }
  EXPECT_TRUE(portmapper_->ports_.empty());
}

TEST_F(PortmapTest, WhatADeadServerLeftIsReplaced) {
  uint16_t dead_port;
  {
    auto dead = RpcServer::Start({.listen = "127.0.0.1:0", .programs = {echo_}});
    dead_port = (*dead)->address().port;
  }
  portmapper_->ports_[Key(3)] = dead_port;
  auto registration = PortmapRegistration::Register({{kEchoProgram, 3, port()}}, options_);
  ASSERT_TRUE(registration) << registration.error().message;
  EXPECT_EQ(portmapper_->ports_[Key(3)], port());
}

TEST_F(PortmapTest, AServerThatAnswersIsNotPushedOut) {
  auto other = RpcServer::Start({.listen = "127.0.0.1:0", .programs = {echo_}});
  ASSERT_TRUE(other);
  portmapper_->ports_[Key(3)] = (*other)->address().port;
  auto registration = PortmapRegistration::Register(
      {{kEchoProgram, 9, port()}, {kEchoProgram, 3, port()}}, options_);
  EXPECT_EQ(test::ErrOf(registration), Err::kBusy);
  // The first one has been taken back, the other server's is still there.
  EXPECT_EQ(portmapper_->ports_,
            (std::map<uint64_t, uint32_t>{{Key(3), (*other)->address().port}}));
}

TEST_F(PortmapTest, WhatSomebodyElseRegisteredMeanwhileStays) {
  auto registration = PortmapRegistration::Register({{kEchoProgram, 3, port()}}, options_);
  ASSERT_TRUE(registration);
  portmapper_->ports_[Key(3)] = 1;
  registration->reset();
  EXPECT_EQ(portmapper_->ports_[Key(3)], 1u);
}

TEST_F(PortmapTest, APortmapperThatRefusesOrIsNotThere) {
  portmapper_->refuse_ = true;
  EXPECT_EQ(test::ErrOf(PortmapRegistration::Register({{kEchoProgram, 3, port()}}, options_)),
            Err::kBusy);
  server_->Stop();
  EXPECT_EQ(test::ErrOf(PortmapRegistration::Register({{kEchoProgram, 3, port()}}, options_)),
            Err::kDisconnected);
  options_.socket_path = "/nowhere/rpcbind.sock";
  EXPECT_EQ(test::ErrOf(PortmapRegistration::Register({{kEchoProgram, 3, port()}}, options_)),
            Err::kDisconnected);
}

class ClientTest : public RpcFixture {
 protected:
  RemoteProcedure Remote(uint32_t procedure, uint32_t version = kEchoVersion) {
    return {kEchoProgram, version, procedure};
  }
};

TEST_F(ClientTest, CallsAndTheirErrors) {
  StartServer();
  const PeerAddress& server = server_->address();
  auto echo = CallRemote(server, Remote(kEcho), Words({1, 2}), In(1000));
  ASSERT_TRUE(echo);
  EXPECT_EQ(*echo, Words({1, 2}));
  auto error = [&](const RemoteProcedure& remote) {
    return test::ErrOf(CallRemote(server, remote, {}, In(1000)));
  };
  EXPECT_EQ(error(Remote(kGap)), Err::kNotSupported);
  EXPECT_EQ(error(Remote(kEcho, 9)), Err::kNotSupported);
  EXPECT_EQ(error({1, 2, 3}), Err::kNotSupported);
  EXPECT_EQ(error(Remote(kPayload)), Err::kInvalid);
  // A reply beyond the bound.
  EXPECT_EQ(test::ErrOf(CallRemote(server, Remote(kPayload), Words({1 << 20}), In(1000))),
            Err::kProtocol);
  EXPECT_EQ(test::ErrOf(CallRemote(server, Remote(kBlock), {}, In(50))), Err::kTimedOut);
}

// Answers one connection with these bytes, after having read something.
class FakeServer {
 public:
  explicit FakeServer(Bytes answer, bool hang_up = true) {
    listener_ = std::move(*ListenAt(*ParseEndpoint("127.0.0.1:0"), address_));
    thread_ = std::thread([this, answer = std::move(answer), hang_up] {
      pollfd waiting{.fd = listener_.get(), .events = POLLIN, .revents = 0};
      if (::poll(&waiting, 1, kPatienceMs) != 1) return;
      UniqueFd fd(::accept(listener_.get(), nullptr, nullptr));
      std::byte call[256];
      if (::recv(fd.get(), call, sizeof call, 0) < 8) return;
      Bytes bytes = answer;
      if (bytes.size() >= 8) std::copy(call + 4, call + 8, bytes.begin() + 4);  // the xid
      (void)::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (!hang_up) (void)::recv(fd.get(), call, 1, 0);
    });
  }
  ~FakeServer() { thread_.join(); }
  const PeerAddress& address() const { return address_; }

 private:
  PeerAddress address_;
  UniqueFd listener_;
  std::thread thread_;
};

TEST_F(ClientTest, AServerThatAnswersWrongly) {
  const auto error = [&](Bytes record, bool marked = true) {
    FakeServer server(marked ? Marked(record) : record);
    return test::ErrOf(CallRemote(server.address(), Remote(kEcho), {}, In(2000)));
  };
  EXPECT_EQ(error(Words({0, 1, 0, 0, 0, 0})), Err::kOk);
  EXPECT_EQ(error(Words({0, 1, 1, 1, 1})), Err::kAccess);           // denied
  EXPECT_EQ(error(Words({0, 1, 0, 0, 0, 5})), Err::kIo);            // SYSTEM_ERR
  EXPECT_EQ(error(Words({0, 1, 0, 0, 0, 6})), Err::kProtocol);      // no such stat
  EXPECT_EQ(error(Words({0, 0, 0, 0, 0, 0})), Err::kProtocol);      // a call
  EXPECT_EQ(error(Words({0, 1, 2, 0, 0, 0})), Err::kProtocol);      // neither accepted nor denied
  EXPECT_EQ(error(Words({0, 1, 0, 0, 500, 0})), Err::kProtocol);    // a verifier beyond its bound
  EXPECT_EQ(error(Words({0, 1, 0, 0})), Err::kProtocol);            // cut off
  EXPECT_EQ(error({}), Err::kProtocol);                             // empty
  EXPECT_EQ(error(Words({0xffffffff, 0}), false), Err::kProtocol);  // beyond the bound
  EXPECT_EQ(error(Words({0x80000064, 0}), false), Err::kDisconnected);  // it hangs up in the middle
  // Another's xid.
  FakeServer server(Words({0x80000018}));
  EXPECT_EQ(test::ErrOf(CallRemote(server.address(), Remote(kEcho), {}, In(2000))),
            Err::kDisconnected);
}

TEST_F(ClientTest, ASilentServerCostsTheDeadlineAtMost) {
  FakeServer server(Words({0x80000064, 0}), /*hang_up=*/false);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(test::ErrOf(CallRemote(server.address(), Remote(kEcho), {}, In(100))), Err::kTimedOut);
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(100));
}

}  // namespace
}  // namespace prism::rpc
