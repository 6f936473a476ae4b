// Servers that break the protocol: the client returns errors, promptly, and believes nothing.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <filesystem>
#include <random>
#include <thread>

#include "tests/vrpc/echo_fs.h"
#include "tests/vrpc/raw_lane.h"
#include "vrpc/channel.h"
#include "vrpc/client.h"
#include "vrpc/wire.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

constexpr Geometry kOneQueue{.queues = 1};

// The server's end of a channel, in bare hands.
class FakeServer {
 public:
  FakeServer() {
    char pattern[] = "/tmp/prism-vrpc-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    listener_ = std::move(*ListenAt(path(), ::geteuid()));
  }
  ~FakeServer() { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/lane"; }

  int Accept() {
    pollfd poll_fd{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    PRISM_CHECK(::poll(&poll_fd, 1, 5000) == 1);
    socket_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    return socket_.get();
  }
  void MakeChannel(const Geometry& geometry = kOneQueue) {
    channel_ = std::move(*Channel::Create(geometry));
    memory_ = channel_->lane(0);
    PutEpoch(memory_, kEpoch);
    ResetRings(memory_);
  }
  void Announce() {
    uint32_t next = 0;
    channel_->Announce(socket_.get(), 1, next);  // to a client that may not want to hear it all
  }
  // What a server says to an honest hello.
  static Answer Granted() {
    Answer answer{};
    answer.magic = kAnswerMagic;
    answer.version = kVersion;
    answer.epoch = kEpoch;
    answer.session = 1;
    answer.queues = 1;
    return answer;
  }
  // Waits for a hello and answers it.
  void AnswerHello(const Answer& answer) {
    auto& seq = memory_.control()->hello_seq;
    pollfd client{.fd = socket_.get(), .events = POLLRDHUP, .revents = 0};
    while (Shared(seq).load() == hellos_ && ::poll(&client, 1, 0) == 0) std::this_thread::yield();
    hellos_ = Shared(seq).load();
    PutAnswer(memory_, hellos_, answer);
    channel_->RingClient(0);
  }
  void Welcome() {
    MakeChannel();
    Accept();
    Announce();
    AnswerHello(Granted());
  }

  // Waits for the next request.
  void AwaitRequest() {
    auto& tail = memory_.queue(0)->submission.tail;
    auto end = InSeconds(5);
    while (Shared(tail).load() == answered_ && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    std::memcpy(&request_, memory_.message(0, 0).data(), sizeof request_);
  }
  void Complete(const CompletionEntry& entry) {
    static_cast<CompletionEntry*>(memory_.completions(0))[answered_ % 2] = entry;
    Shared(memory_.queue(0)->submission.head).store(++answered_);
    Shared(memory_.queue(0)->completion.tail).store(answered_);
    channel_->RingClient(1);
  }
  // A reply with this header and body; the entry's sizes fit unless told otherwise.
  void Reply(uint64_t id, uint8_t error, std::string_view body, uint32_t payload_bytes = 0) {
    ReplyHeader header{};
    header.id = id;
    header.error = error;
    std::byte* slot = memory_.message(0, 0).data();
    std::memcpy(slot, &header, sizeof header);
    std::memcpy(slot + sizeof header, body.data(), body.size());
    Complete({0, static_cast<uint32_t>(sizeof header + body.size()), payload_bytes, 0});
  }

  static constexpr uint64_t kEpoch = 77;

  std::string directory_;
  UniqueFd listener_;
  UniqueFd socket_;
  std::shared_ptr<Channel> channel_;
  LaneMemory memory_;
  uint32_t hellos_ = 0;
  RequestHeader request_{};
  uint32_t answered_ = 0;
};

// A connected client and its fake server; `misbehave` answers the first request of `call`.
template <typename Call, typename Misbehave>
void ExpectProtocolError(const char* what, Call call, Misbehave misbehave) {
  FakeServer server;
  std::thread serving([&] {
    server.Welcome();
    server.AwaitRequest();
    misbehave(server);
  });
  auto client = Client::Connect(server.path(), {.volume = "v"});
  ASSERT_TRUE(client) << what;
  auto result = call(**client);
  serving.join();
  ASSERT_FALSE(result) << what;
  EXPECT_EQ(result.error(), Err::kProtocol) << what;
  EXPECT_EQ((*client)->Null().error(), Err::kDisconnected) << what;
}

TEST(HostileServerTest, Completions) {
  auto null = [](Client& c) { return c.Null(); };
  uint32_t header = sizeof(ReplyHeader);
  for (CompletionEntry entry : {CompletionEntry{1, header, 0, 0}, CompletionEntry{9, header, 0, 0},
                                CompletionEntry{0, header - 1, 0, 0},
                                CompletionEntry{0, Geometry{}.message_bytes + 1, 0, 0},
                                CompletionEntry{0, 0xffffffff, 0, 0},
                                CompletionEntry{0, header, Geometry{}.payload_bytes + 1, 0}})
    ExpectProtocolError("entry", null, [&](FakeServer& s) { s.Complete(entry); });
  ExpectProtocolError("tail", null, [](FakeServer& s) {
    Shared(s.memory_.queue(0)->completion.tail).store(3);
    s.channel_->RingClient(1);
  });
  ExpectProtocolError("id", null, [](FakeServer& s) { s.Reply(s.request_.id + 1, 0, ""); });
  ExpectProtocolError("error", null, [](FakeServer& s) { s.Reply(s.request_.id, kErrCount, ""); });
  ExpectProtocolError("body", null, [](FakeServer& s) { s.Reply(s.request_.id, 0, "x"); });
}

TEST(HostileServerTest, Results) {
  auto getattr = [](Client& c) { return c.Getattr({}, 1); };
  std::string attr;
  Encoder(attr).Put(EchoAttr(1));
  ExpectProtocolError("cut", getattr, [&](FakeServer& s) {
    s.Reply(s.request_.id, 0, std::string_view(attr).substr(1));
  });
  std::vector<std::byte> buffer(100);
  auto read = [&](Client& c) { return c.Read({}, 1, 0, buffer); };
  for (auto [length, payload] : {std::pair{101u, 101u}, {100u, 99u}, {0xffffffffu, 100u}}) {
    ExpectProtocolError("read", read, [&](FakeServer& s) {
      std::string body;
      Encoder(body).Put(fs::ReadResult{length, false, EchoAttr(1)});
      s.Reply(s.request_.id, 0, body, payload);
    });
  }
  auto readdir = [](Client& c) {
    return c.Readdir({}, 1, 0, false, [](const fs::DirEntry&) { return true; });
  };
  for (uint32_t entries : {1u, uint32_t{fs::kReaddirEntriesMax} + 1, 0xffffffffu}) {
    ExpectProtocolError("readdir", readdir, [&](FakeServer& s) {
      std::string body;
      Encoder(body).Put(ReaddirReply{true, EchoAttr(1), entries});
      s.Reply(s.request_.id, 0, body, 10);
    });
  }
  auto listxattr = [](Client& c) { return c.Listxattr({}, 1); };
  ExpectProtocolError("listxattr", listxattr, [&](FakeServer& s) {
    std::string body;
    Encoder(body).Put(ListxattrReply{0xffffffff});
    s.Reply(s.request_.id, 0, body, 100);
  });
}

TEST(HostileServerTest, Events) {
  for (int kind = 0; kind < 3; ++kind) {
    FakeServer server;
    std::thread serving([&] { server.Welcome(); });
    auto client = Client::Connect(server.path(), {.volume = "v"});
    serving.join();
    ASSERT_TRUE(client);
    auto* slot = static_cast<EventSlot*>(server.memory_.event_slots());
    *slot = EventSlot{};
    if (kind == 0) slot->kind = static_cast<uint8_t>(fs::Event::Kind::kBarrier) + 1;
    if (kind == 1) slot->name_bytes = fs::kNameMax + 1;
    Shared(server.memory_.event_control()->ring.tail).store(kind == 2 ? 5000 : 1);
    server.channel_->RingClient(0);
    auto end = InSeconds(5);
    while ((*client)->connected() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(1ms);
    EXPECT_FALSE((*client)->connected()) << kind;
  }
}

// How connecting ends when `respond` is who accepts.
template <typename Respond>
Err ConnectError(Respond respond) {
  FakeServer server;
  std::thread serving([&] {
    server.Accept();
    respond(server);
  });
  auto client = Client::Connect(server.path(), {.volume = "v", .timeout_ms = 300});
  serving.join();
  return client ? Err::kOk : client.error().code;
}

TEST(HostileServerTest, Messages) {
  EXPECT_EQ(ConnectError([](FakeServer&) {}), Err::kTimedOut);
  EXPECT_EQ(ConnectError([](FakeServer& s) { s.socket_.Reset(); }), Err::kDisconnected);
  // Numbers alone; a negative one for a number with a descriptor.
  auto after = [](std::initializer_list<std::pair<int64_t, bool>> messages) {
    return ConnectError([&](FakeServer& s) {
      s.MakeChannel();
      for (auto [value, with_fd] : messages)
        SendMessage(s.socket_.get(), value, with_fd ? s.channel_->doorbell(0) : -1);
      s.socket_.Reset();
    });
  };
  EXPECT_EQ(after({{1, false}}), Err::kProtocol);
  EXPECT_EQ(after({{0, true}}), Err::kProtocol);
  EXPECT_EQ(after({{RefusalFor(Err::kAccess), false}}), Err::kAccess);
  EXPECT_EQ(after({{RefusalFor(Err::kAgain), false}}), Err::kAgain);
  EXPECT_EQ(after({{RefusalFor(Err::kBusy), false}}), Err::kBusy);
  EXPECT_EQ(after({{-1000, false}}), Err::kProtocol);
  EXPECT_EQ(after({{0, false}, {0, false}}), Err::kProtocol);
  EXPECT_EQ(after({{0, false}, {65536, false}}), Err::kProtocol);
  EXPECT_EQ(after({{0, false}, {-5, false}}), Err::kProtocol);
  EXPECT_EQ(after({{0, false}, {1, false}, {-1, false}}), Err::kProtocol);
  EXPECT_EQ(after({{0, false}, {1, false}, {-1, true}}), Err::kProtocol);  // an eventfd
  EXPECT_EQ(after({{0, false}, {1, false}, {0, true}}), Err::kProtocol);
  EXPECT_EQ(after({{0, false}, {1, false}}), Err::kDisconnected);
}

TEST(HostileServerTest, Vectors) {
  auto announce = [](uint32_t from_server, uint32_t from_client, bool with_fd) {
    return ConnectError([&](FakeServer& s) {
      s.MakeChannel();
      std::vector<int> fds = s.channel_->Numbers(-1);  // two vectors each way, from 2 on
      SendMessage(s.socket_.get(), 0, -1);
      SendMessage(s.socket_.get(), 1, -1);
      SendMessage(s.socket_.get(), -1, fds[1]);
      for (uint32_t i = 0; i < from_server; ++i)
        SendMessage(s.socket_.get(), 0, with_fd ? fds[2 + i % 2] : -1);
      for (uint32_t i = 0; i < from_client; ++i)
        SendMessage(s.socket_.get(), 1, with_fd ? fds[4 + i % 2] : -1);
      if (with_fd && from_server == 2 && from_client == 2) s.AnswerHello(FakeServer::Granted());
    });
  };
  EXPECT_EQ(announce(2, 2, true), Err::kOk);
  EXPECT_EQ(announce(2, 2, false), Err::kProtocol);
  EXPECT_EQ(announce(3, 2, true), Err::kProtocol);
  EXPECT_EQ(announce(1, 3, true), Err::kProtocol);
  EXPECT_EQ(announce(2, 1, true), Err::kTimedOut);
}

TEST(HostileServerTest, Answers) {
  auto answer_with = [](auto change) {
    return ConnectError([&](FakeServer& s) {
      s.MakeChannel();
      s.Announce();
      Answer answer = FakeServer::Granted();
      change(answer);
      s.AnswerHello(answer);
    });
  };
  EXPECT_EQ(answer_with([](Answer&) {}), Err::kOk);
  EXPECT_EQ(answer_with([](Answer& a) { a.error = static_cast<uint32_t>(Err::kBusy); }),
            Err::kBusy);
  EXPECT_EQ(answer_with([](Answer& a) { a.magic = 0; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.error = kErrCount; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.message_bytes = 0xffffffff; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.queues = 0; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.queues = 2; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.version = 3; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.epoch ^= 1; }), Err::kProtocol);
}

// A server that comes anew while a hello waits: the client says it again.
TEST(HostileServerTest, AHelloIsSaidAgainInANewEpoch) {
  Answer second = FakeServer::Granted();
  second.epoch = 78;
  EXPECT_EQ(ConnectError([&](FakeServer& s) {
              s.MakeChannel();
              s.Announce();
              auto& seq = s.memory_.control()->hello_seq;
              while (Shared(seq).load() == 0) std::this_thread::yield();
              s.hellos_ = Shared(seq).load();
              PutEpoch(s.memory_, 78);
              s.channel_->RingClient(0);
              s.AnswerHello(second);
              EXPECT_EQ(s.memory_.control()->hello.epoch, 78u);
            }),
            Err::kOk);
}

TEST(HostileServerTest, Segments) {
  EXPECT_EQ(ConnectError([](FakeServer& s) {  // not sealed
              UniqueFd memory(::memfd_create("x", MFD_CLOEXEC));
              PRISM_CHECK(::ftruncate(memory.get(), 1 << 20) == 0);
              SendMessage(s.socket_.get(), 0, -1);
              SendMessage(s.socket_.get(), 1, -1);
              SendMessage(s.socket_.get(), -1, memory.get());
            }),
            Err::kProtocol);
  auto with_header = [](auto change) {
    return ConnectError([&](FakeServer& s) {
      s.MakeChannel();
      change(*reinterpret_cast<SegmentHeader*>(reinterpret_cast<std::byte*>(s.memory_.control()) -
                                               kPageBytes));
      s.Announce();
      s.AnswerHello(FakeServer::Granted());
    });
  };
  EXPECT_EQ(with_header([](SegmentHeader&) {}), Err::kOk);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.magic = 0; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.version = 1; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.lanes = 2; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.lanes = 0x80000001; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.queues = 2; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.ring_entries = 3; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.slots = 0; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.payload_bytes = 0xfffff000; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.payloads_offset = ~uint64_t{0}; }),
            Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.lane_bytes += kPageBytes; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.segment_bytes *= 2; }), Err::kProtocol);
  EXPECT_EQ(ConnectError([](FakeServer& s) {  // the header of a larger one
              s.MakeChannel();
              SegmentHeader header = HeaderFor({.queues = 64});
              std::memcpy(reinterpret_cast<std::byte*>(s.memory_.control()) - kPageBytes, &header,
                          sizeof header);
              s.Announce();
            }),
            Err::kProtocol);
}

}  // namespace
}  // namespace prism::vrpc
