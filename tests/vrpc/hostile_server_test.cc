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
#include "vrpc/client.h"
#include "vrpc/wire.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

// The server's end of one lane, in bare hands.
class FakeServer {
 public:
  FakeServer() {
    char pattern[] = "/tmp/prism-vrpc-XXXXXX";
    directory_ = ::mkdtemp(pattern);
    listener_ = std::move(*ListenAt(path()));
  }
  ~FakeServer() { std::filesystem::remove_all(directory_); }
  std::string path() const { return directory_ + "/lane"; }

  // Accepts one client and reads its hello.
  int Accept() {
    pollfd poll_fd{.fd = listener_.get(), .events = POLLIN, .revents = 0};
    PRISM_CHECK(::poll(&poll_fd, 1, 5000) == 1);
    socket_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    Hello hello;
    PRISM_CHECK(::recv(socket_.get(), &hello, sizeof hello, MSG_WAITALL) == sizeof hello);
    return socket_.get();
  }
  void MakeFds(uint32_t queues) {
    fds_.notify = std::move(*MakeDoorbell());
    for (uint32_t i = 0; i < queues; ++i) {
      fds_.doorbells.push_back(std::move(*MakeDoorbell()));
      fds_.completions.push_back(std::move(*MakeDoorbell()));
    }
  }
  void Welcome() {
    segment_.emplace(std::move(*Segment::Create({.queues = 1})));
    MakeFds(1);
    SendWelcome(Accept(), segment_->fd(), segment_->bytes(), fds_);
  }

  // Waits for the next request.
  void AwaitRequest() {
    auto& tail = segment_->queue(0)->submission.tail;
    auto end = InSeconds(5);
    while (Shared(tail).load() == answered_ && std::chrono::steady_clock::now() < end)
      std::this_thread::yield();
    std::memcpy(&request_, segment_->message(0, 0).data(), sizeof request_);
  }
  void Complete(const CompletionEntry& entry) {
    static_cast<CompletionEntry*>(segment_->completions(0))[answered_ % 2] = entry;
    Shared(segment_->queue(0)->submission.head).store(++answered_);
    Shared(segment_->queue(0)->completion.tail).store(answered_);
    Ring(fds_.completions[0].get());
  }
  // A reply with this header and body; the entry's sizes fit unless told otherwise.
  void Reply(uint64_t id, uint8_t error, std::string_view body, uint32_t payload_bytes = 0) {
    ReplyHeader header{};
    header.id = id;
    header.error = error;
    std::byte* slot = segment_->message(0, 0).data();
    std::memcpy(slot, &header, sizeof header);
    std::memcpy(slot + sizeof header, body.data(), body.size());
    Complete({0, static_cast<uint32_t>(sizeof header + body.size()), payload_bytes, 0});
  }

  std::string directory_;
  UniqueFd listener_;
  UniqueFd socket_;
  std::optional<Segment> segment_;
  LaneFds fds_;
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
    Shared(s.segment_->queue(0)->completion.tail).store(3);
    Ring(s.fds_.completions[0].get());
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
    auto* slot = static_cast<EventSlot*>(server.segment_->event_slots());
    *slot = EventSlot{};
    if (kind == 0) slot->kind = static_cast<uint8_t>(fs::Event::Kind::kLockGranted) + 1;
    if (kind == 1) slot->name_bytes = fs::kNameMax + 1;
    Shared(server.segment_->event_control()->ring.tail).store(kind == 2 ? 5000 : 1);
    Ring(server.fds_.notify.get());
    auto end = InSeconds(5);
    while ((*client)->connected() && std::chrono::steady_clock::now() < end)
      std::this_thread::sleep_for(1ms);
    EXPECT_FALSE((*client)->connected()) << kind;
  }
}

// What a client says to an answer that `respond` sends.
template <typename Respond>
Err ConnectError(Respond respond) {
  FakeServer server;
  std::thread serving([&] {
    int fd = server.Accept();
    respond(server, fd);
  });
  auto client = Client::Connect(server.path(), {.volume = "v", .timeout_ms = 300});
  serving.join();
  return client ? Err::kOk : client.error().code;
}

TEST(HostileServerTest, Answers) {
  EXPECT_EQ(ConnectError([](FakeServer&, int) {}), Err::kTimedOut);
  EXPECT_EQ(ConnectError([](FakeServer& s, int) { s.socket_.Reset(); }), Err::kDisconnected);
  auto answer_with = [](auto change) {
    return ConnectError([&](FakeServer&, int fd) {
      Answer answer{};
      answer.magic = kAnswerMagic;
      answer.version = kVersion;
      answer.error = static_cast<uint32_t>(Err::kBusy);
      change(answer);
      PRISM_CHECK(::send(fd, &answer, sizeof answer, 0) == sizeof answer);
    });
  };
  EXPECT_EQ(answer_with([](Answer&) {}), Err::kBusy);
  EXPECT_EQ(answer_with([](Answer& a) { a.magic = 0; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.error = kErrCount; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.message_bytes = 0xffffffff; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.error = 0; }), Err::kProtocol);  // without descriptors
  EXPECT_EQ(answer_with([](Answer& a) { a.error = 0, a.queues = 0xffffffff; }), Err::kProtocol);
  EXPECT_EQ(answer_with([](Answer& a) { a.error = 0, a.version = 2; }), Err::kProtocol);
}

TEST(HostileServerTest, Segments) {
  // An honest one first: what follows fails for the reason given, and for no other.
  EXPECT_EQ(ConnectError([](FakeServer& s, int fd) {
              s.segment_.emplace(std::move(*Segment::Create({.queues = 1})));
              s.MakeFds(1);
              SendWelcome(fd, s.segment_->fd(), s.segment_->bytes(), s.fds_);
            }),
            Err::kOk);
  EXPECT_EQ(ConnectError([](FakeServer& s, int fd) {  // not sealed
              UniqueFd memory(::memfd_create("x", MFD_CLOEXEC));
              PRISM_CHECK(::ftruncate(memory.get(), 1 << 20) == 0);
              s.MakeFds(1);
              SendWelcome(fd, memory.get(), 1 << 20, s.fds_);
            }),
            Err::kProtocol);
  auto with_header = [](auto change) {
    return ConnectError([&](FakeServer& s, int fd) {
      s.segment_.emplace(std::move(*Segment::Create({.queues = 1})));
      s.MakeFds(1);
      auto* header = reinterpret_cast<SegmentHeader*>(
          reinterpret_cast<std::byte*>(s.segment_->queue(0)) - kPageBytes);
      change(*header);
      SendWelcome(fd, s.segment_->fd(), s.segment_->bytes(), s.fds_);
    });
  };
  EXPECT_EQ(with_header([](SegmentHeader&) {}), Err::kOk);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.magic = 0; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.version = 2; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.queues = 2; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.ring_entries = 3; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.slots = 0; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.payload_bytes = 0xfffff000; }), Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.payloads_offset = ~uint64_t{0}; }),
            Err::kProtocol);
  EXPECT_EQ(with_header([](SegmentHeader& h) { h.segment_bytes += 4096; }), Err::kProtocol);
  EXPECT_EQ(ConnectError([](FakeServer& s, int fd) {  // the answer and the memory disagree
              s.segment_.emplace(std::move(*Segment::Create({.queues = 1})));
              s.MakeFds(1);
              SendWelcome(fd, s.segment_->fd(), s.segment_->bytes() + 4096, s.fds_);
            }),
            Err::kProtocol);
  EXPECT_EQ(ConnectError([](FakeServer& s, int fd) {  // two queues' descriptors, one queue
              s.segment_.emplace(std::move(*Segment::Create({.queues = 1})));
              s.MakeFds(2);
              SendWelcome(fd, s.segment_->fd(), s.segment_->bytes(), s.fds_);
            }),
            Err::kProtocol);
}

}  // namespace
}  // namespace prism::vrpc
