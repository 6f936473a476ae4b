// Clients that break the protocol in every known way, and in random ways: the server drops them,
// lives on, and other lanes do not notice.
#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <random>

#include "tests/vrpc/lane_fixture.h"
#include "tests/vrpc/raw_lane.h"
#include "vrpc/wire.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

class HostileClientTest : public LaneFixture {
 protected:
  void SetUp() override {
    StartServer({.workers = 3, .hello_timeout_ms = 100});
    bystander_ = Connect();
    ASSERT_NE(bystander_, nullptr);
  }
  void TearDown() override {
    EXPECT_TRUE(bystander_->Null());
    auto attr = bystander_->Getattr({}, 42);
    ASSERT_TRUE(attr);
    EXPECT_EQ(*attr, EchoAttr(42));
  }
  // Opens a lane, lets `misbehave` at it, and expects the server to end the session.
  template <typename Misbehave>
  void ExpectDropped(const char* what, Misbehave misbehave) {
    RawLane lane = RawLane::Open(path());
    uint64_t epoch = lane.epoch();
    misbehave(lane);
    EXPECT_TRUE(lane.Dropped(epoch)) << what;
    // Without a session, the connection ends soon.
    EXPECT_TRUE(lane.Ended()) << what;
    EXPECT_TRUE(Soon([&] { return server_->Lanes().size() == 1; })) << what;
  }
  std::shared_ptr<Client> bystander_;
};

TEST_F(HostileClientTest, AbsurdEntriesEndTheLane) {
  uint32_t slots = Geometry{}.slots, message_max = Geometry{}.message_bytes,
           payload_max = Geometry{}.payload_bytes;
  uint32_t header = sizeof(RequestHeader);
  for (SubmissionEntry entry :
       {SubmissionEntry{slots, header, 0, 0}, SubmissionEntry{0xffffffff, header, 0, 0},
        SubmissionEntry{0, header - 1, 0, 0}, SubmissionEntry{0, 0, 0, 0},
        SubmissionEntry{0, message_max + 1, 0, 0}, SubmissionEntry{0, 0xffffffff, 0, 0},
        SubmissionEntry{0, header, payload_max + 1, 0},
        SubmissionEntry{0, header, 0xffffffff, 0}}) {
    ExpectDropped("entry", [&](RawLane& lane) {
      lane.Compose(0, 0, "");
      lane.Submit(0, entry);
    });
  }
}

TEST_F(HostileClientTest, LyingIndicesEndTheLane) {
  for (uint32_t lie : {3u, 1000u, 0x80000000u, 0xffffffffu}) {
    ExpectDropped("submission tail", [&](RawLane& lane) {
      Shared(lane.memory.queue(1)->submission.tail).store(lie);
      lane.Knock(1);
    });
  }
  for (uint32_t lie : {1u, 1000u, 0x80000000u, 0xfffffffeu}) {
    ExpectDropped("completion head", [&](RawLane& lane) {
      Shared(lane.memory.queue(1)->completion.head).store(lie);
      lane.Submit(1, {0, lane.Compose(1, 0, ""), 0, 0});
    });
    ExpectDropped("event head", [&](RawLane& lane) {
      Shared(lane.memory.event_control()->ring.head).store(lie == 0xfffffffeu ? 5u : lie);
      echo()->Send({fs::Event::Kind::kInode, 1, ""});
    });
  }
}

TEST_F(HostileClientTest, CompletionsMustBeTaken) {
  ExpectDropped("too many under way", [&](RawLane& lane) {
    uint32_t bytes = lane.Compose(0, 0, "");
    *lane.submission(0, 0) = {0, bytes, 0, 0};
    *lane.submission(0, 1) = {1, bytes, 0, 0};
    // Ever on, whatever completes: the third has no room.
    std::memcpy(lane.memory.message(0, 1).data(), lane.memory.message(0, 0).data(), bytes);
    auto& control = lane.memory.queue(0)->submission;
    Shared(control.tail).store(2);
    lane.Knock(0);
    EXPECT_TRUE(Soon([&] { return Shared(control.head).load() == 2; }));
    Shared(control.tail).store(3);
    lane.Knock(0);
  });
}

TEST_F(HostileClientTest, MalformedRequestsAreAnswered) {
  struct Case {
    uint16_t op;
    std::string body;
    uint16_t groups;
    Err expected;
  };
  auto number = [](uint64_t n) { return std::string(reinterpret_cast<char*>(&n), sizeof n); };
  for (const Case& c : std::initializer_list<Case>{
           {static_cast<uint16_t>(Op::kGetattr), "", 0, Err::kProtocol},
           {static_cast<uint16_t>(Op::kGetattr), number(1) + "x", 0, Err::kProtocol},
           {static_cast<uint16_t>(Op::kGetattr), number(1), 65, Err::kProtocol},
           {static_cast<uint16_t>(Op::kGetattr), number(1), 3, Err::kProtocol},
           {static_cast<uint16_t>(Op::kGetattr), number(1), 0, Err::kOk},
           {static_cast<uint16_t>(Op::kGetattr), number(EchoFs::kStaleInode), 0, Err::kStale},
           {static_cast<uint16_t>(Op::kLookup), number(1) + "\xff\xff\xff\xff", 0, Err::kProtocol},
           {static_cast<uint16_t>(Op::kRead), number(1) + number(0) + "\xff\xff\xff\xff", 0,
            Err::kProtocol},
           {kOpCount, "", 0, Err::kNotSupported},
           {0xffff, "", 0, Err::kNotSupported}}) {
    RawLane lane = RawLane::Open(path());
    uint32_t bytes = lane.Compose(0, c.op, c.body, c.groups);
    lane.Submit(0, {0, bytes, 0, 0});
    EXPECT_EQ(lane.FirstReply(0), static_cast<int>(c.expected)) << c.op << " " << c.body.size();
  }
}

TEST_F(HostileClientTest, ReservedBytesOfARequestAreZero) {
  constexpr size_t kThree = offsetof(RequestHeader, reserved);
  constexpr size_t kFour = offsetof(RequestHeader, reserved2);
  for (size_t at : {kThree, kThree + 1, kThree + 2, kFour, kFour + 3}) {
    RawLane lane = RawLane::Open(path());
    uint32_t bytes = lane.Compose(0, static_cast<uint16_t>(Op::kNull), "");
    lane.memory.message(0, 0)[at] = std::byte{1};
    lane.Submit(0, {0, bytes, 0, 0});
    EXPECT_EQ(lane.FirstReply(0), static_cast<int>(Err::kProtocol)) << at;
  }
}

TEST_F(HostileClientTest, BadHellosAreRefused) {
  auto refused = [&](auto change) {
    Hello hello = RawLane::FullHello();
    change(hello);
    return RawLane::Connect(path()).Greet(hello);
  };
  EXPECT_EQ(refused([](Hello&) {}), Err::kOk);
  EXPECT_EQ(refused([](Hello& h) { h.magic ^= 1; }), Err::kProtocol);
  EXPECT_EQ(refused([](Hello& h) { h.version_min = kVersion + 1; }), Err::kNotSupported);
  EXPECT_EQ(refused([](Hello& h) { h.version_max = 1; }), Err::kNotSupported);
  EXPECT_EQ(refused([](Hello& h) { h.flags = 32; }), Err::kNotSupported);
  EXPECT_EQ(refused([](Hello& h) { h.reserved = 1; }), Err::kNotSupported);
  EXPECT_EQ(refused([](Hello& h) { h.client = 0; }), Err::kInvalid);
  EXPECT_EQ(refused([](Hello& h) { h.volume_bytes = 0; }), Err::kInvalid);
  EXPECT_EQ(refused([](Hello& h) { h.volume_bytes = kVolumeNameMax + 1; }), Err::kInvalid);
  EXPECT_EQ(refused([](Hello& h) { h.volume_bytes = 0xffffffff; }), Err::kInvalid);
  EXPECT_EQ(refused([](Hello& h) { h.queues = 0xffffffff; }), Err::kOk);  // it gets what there is
}

TEST_F(HostileClientTest, SilenceAndChatterEnd) {
  EXPECT_TRUE(RawLane::Connect(path()).Ended());
  RawLane lane = RawLane::Open(path());
  EXPECT_EQ(::send(lane.channel->socket.get(), "x", 1, 0), 1);
  EXPECT_TRUE(lane.Ended());
}

TEST_F(HostileClientTest, FullEventfdsBlockNobody) {
  std::vector<RawLane> lanes;
  for (int i = 0; i < 4; ++i) {  // more than there are workers
    lanes.push_back(RawLane::Open(path()));
    RawLane& lane = lanes.back();
    uint64_t full = ~uint64_t{0} - 1;
    for (int fd : {lane.completion(0), lane.notify()}) {
      TryClear(fd);
      EXPECT_EQ(::write(fd, &full, sizeof full), 8);
    }
    Shared(lane.memory.queue(0)->completion.sleeps).store(1);
    Shared(lane.memory.event_control()->ring.sleeps).store(1);
    lane.Compose(0, 0, "");
    *lane.submission(0, 0) = {0, sizeof(RequestHeader), 0, 0};
    Shared(lane.memory.queue(0)->submission.tail).store(1);
    EXPECT_EQ(::write(lane.doorbell(0), &full, sizeof full), 8);
    EXPECT_EQ(lane.FirstReply(0), 0);
    echo()->Send({fs::Event::Kind::kInode, 1, ""});
  }
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(bystander_->Null());
}

// Everything a client can write, written at random while its requests are being served.
class Mutator {
 public:
  Mutator(std::string path, uint64_t seed) : path_(std::move(path)), random_(seed) {}

  void Run(Deadline end) {
    while (std::chrono::steady_clock::now() < end) OneLane(end);
  }
  uint64_t lanes = 0;
  uint64_t requests = 0;

 private:
  void OneLane(Deadline end) {
    RawLane lane = RawLane::Open(path_);
    epoch_ = lane.epoch();
    ++lanes;
    // Half of the lanes keep to the rings' rules and only change bytes under the server's hands.
    bool mannered = random_() % 2 == 0;
    std::atomic<bool> stop = false;
    uint64_t seed = random_();
    std::thread scribbler([&] { Scribble(lane, mannered, seed, stop); });
    for (int i = 0; i < 300 && std::chrono::steady_clock::now() < end; ++i)
      if (!OneRequest(lane)) break;
    stop = true;
    scribbler.join();
  }

  // Sends a random request on queue 0 and takes its reply. False: the lane is over.
  bool OneRequest(RawLane& lane) {
    uint32_t bytes = lane.Compose(0, static_cast<uint16_t>(random_() % kOpCount), RandomBody());
    uint32_t payload_bytes = static_cast<uint32_t>(random_() % (1 << (random_() % 18)));
    auto& control = *lane.memory.queue(0);
    uint32_t next = Shared(control.submission.head).load() + 1;
    *lane.submission(0, (next - 1) % Geometry{}.ring_entries) = {0, bytes, payload_bytes, 0};
    Shared(control.submission.tail).store(next);
    lane.Knock(0);
    ++requests;
    for (int spin = 0; spin < 2000; ++spin) {
      if (Shared(control.completion.tail).load() == next) break;
      CpuPause();
    }
    Shared(control.completion.head).store(Shared(control.completion.tail).load());
    return lane.epoch() == epoch_;
  }

  std::string RandomBody() {
    std::string body(random_() % 200, '\0');
    for (char& c : body) c = random_() % 3 != 0 ? '\0' : static_cast<char>(random_());
    return body;
  }

  // Races with everything, on purpose.
  __attribute__((no_sanitize("thread"))) static void Scribble(RawLane& lane, bool mannered,
                                                              uint64_t seed,
                                                              std::atomic<bool>& stop) {
    std::mt19937_64 random(seed);
    std::span<std::byte> segment = lane.channel->segment->memory();
    while (!stop) {
      uint64_t where = random() % 4;
      std::byte* at = where == 0   ? lane.memory.message(0, 0).data() + random() % 300
                      : where == 1 ? lane.memory.payload(0, 0).data() + random() % 5000
                      : where == 2
                          ? static_cast<std::byte*>(lane.memory.submissions(0)) + random() % 32
                          : segment.data() + random() % segment.size();
      if (mannered && where >= 2) continue;
      *reinterpret_cast<volatile std::byte*>(at) = static_cast<std::byte>(random());
      if (!mannered && random() % 50 == 0) lane.Knock(static_cast<uint32_t>(random() % 8));
    }
  }

  const std::string path_;
  std::mt19937_64 random_;
  uint64_t epoch_ = 0;  // of the lane
};

TEST_F(HostileClientTest, AnythingWrittenAtAnyTimeHurtsNobodyElse) {
  auto end = std::chrono::steady_clock::now() + 2s;
  Mutator mutator(path(), 20240601);
  std::thread hostile([&] { mutator.Run(end); });
  uint64_t calls = 0;
  std::vector<std::byte> data(5000), back(5000);
  while (std::chrono::steady_clock::now() < end) {
    InodeId ino = 1000 + calls % 7777;
    auto attr = bystander_->Getattr({}, ino);
    ASSERT_TRUE(attr);
    ASSERT_EQ(*attr, EchoAttr(ino));
    auto read = bystander_->Read({}, 5000, calls, back);
    ASSERT_TRUE(read);
    for (size_t i = 0; i < back.size(); ++i)
      ASSERT_EQ(back[i], static_cast<std::byte>((calls + i) * 7));
    ASSERT_TRUE(bystander_->Write({}, {.ino = ino, .data = data}));
    ++calls;
  }
  hostile.join();
  RecordProperty("lanes", std::to_string(mutator.lanes));
  RecordProperty("requests", std::to_string(mutator.requests));
  EXPECT_GT(mutator.lanes, 10u);
  EXPECT_GT(mutator.requests, 500u);
  EXPECT_GT(calls, 100u);
  EXPECT_TRUE(Soon([&] { return server_->Lanes().size() == 1; }));
}

}  // namespace
}  // namespace prism::vrpc
