// The server's end of a segment, driven from random and mutated memory: Hellos, ring words,
// entries, messages, sizes, doorbells, and words that change while the server works. Each round is
// a virtual machine's port of its own and follows from its seed, but for what the second thread
// hits.
//
// A lane of another channel keeps calling meanwhile: it must never fail, and stay quick. After each
// round the server must be asleep, of the size it was, and answer a clean Hello on every lane.
//
// PRISM_FUZZ_SECONDS: how long, instead of the few fixed seeds; PRISM_FUZZ_SEED: the first of them.
#include <fmt/format.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>

#include "tests/vrpc/lane_fixture.h"
#include "tests/vrpc/raw_lane.h"
#include "vrpc/messages.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr uint32_t kRounds = 6;
constexpr auto kRoundTime = 500ms;
constexpr auto kIdleTime = 200ms;
constexpr double kIdleCpuMax = 0.2;  // of one core, when nobody asks for anything
// Of calls on the other lane: what a machine that is busy with others leaves room for.
constexpr auto kP99Max = kSanitized ? 3s : 1s;
// What sanitizers keep of freed memory is theirs.
constexpr int64_t kGrowthMax = int64_t{kSanitized ? 512 : 64} << 20;

uint64_t FromEnvironment(const char* name, uint64_t fallback) {
  const char* value = std::getenv(name);
  return value == nullptr ? fallback : std::strtoull(value, nullptr, 10);
}

int64_t ResidentBytes() {
  ::malloc_trim(0);
  std::ifstream in("/proc/self/statm");
  int64_t total = 0, resident = 0;
  in >> total >> resident;
  return resident * ::getpagesize();
}

uint64_t CpuNs() {
  timespec time{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint64_t Any() { return random_(); }
  uint32_t Below(uint64_t bound) { return static_cast<uint32_t>(random_() % bound); }
  bool OneIn(uint32_t n) { return Below(n) == 0; }
  // Numbers that bounds are wrong at, more often than others.
  uint32_t Number() {
    constexpr uint32_t kEdges[] = {0,          1,          2,          3,       7,
                                   16,         31,         64,         0xffff,  0x10000,
                                   0x7fffffff, 0x80000000, 0xfffffffe, ~0u,     kMessageBytesMin,
                                   1u << 20,   0x100001,   0x4001,     0xffffff};
    return OneIn(3) ? static_cast<uint32_t>(Any()) : kEdges[Below(std::size(kEdges))];
  }

 private:
  std::mt19937_64 random_;
};

// Two threads write at once, and the server reads: on purpose, so no write is a plain one.
void Scrawl(std::byte* at, uint8_t value) {
  std::atomic_ref<uint8_t>(reinterpret_cast<uint8_t&>(*at)).store(value, std::memory_order_relaxed);
}
void ScrawlOver(void* at, const void* bytes, size_t length) {
  for (size_t i = 0; i < length; ++i)
    Scrawl(static_cast<std::byte*>(at) + i, static_cast<const uint8_t*>(bytes)[i]);
}

struct Sample {
  Op op;
  std::string body;
  std::string payload;
};

template <typename T>
Sample SampleOf(Op op, const T& request, std::string payload = "") {
  Sample sample{op, {}, std::move(payload)};
  Encoder(sample.body).Put(request);
  return sample;
}

// One valid request of each shape.
std::vector<Sample> Samples() {
  fs::SetAttr changes{.mode = 0644, .size = 3, .mtime = fs::Timespec{5, 6}};
  LockRequest lock;
  lock.args = {.ino = 7, .length = 10, .owner = "owner", .cookie = 5};
  CreateRequest create{.parent = 1, .name = "new", .initial = changes};
  create.data_bytes = 4;
  create.xattr_count = 1;
  std::string extras = "data";
  Encoder(extras).Put(std::string_view("user.name"));
  Encoder(extras).Put(std::string_view("value"));
  return {
      SampleOf(Op::kNull, Nothing{}),
      SampleOf(Op::kStatfs, Nothing{}),
      SampleOf(Op::kLookup, NameRequest{1, "name"}),
      SampleOf(Op::kGetattr, InoRequest{7}),
      SampleOf(Op::kSetattr, SetattrRequest{7, changes}),
      SampleOf(Op::kAccess, AccessRequest{7, 7}),
      SampleOf(Op::kReadlink, InoRequest{7}),
      SampleOf(Op::kRead, ReadRequest{7, 100, 5000}),
      SampleOf(Op::kWrite, WriteRequest{7, 100}, "some data"),
      SampleOf(Op::kCreate, create, extras),
      SampleOf(Op::kLink, LinkRequest{7, 1, "other"}),
      SampleOf(Op::kUnlink, NameRequest{1, "name"}),
      SampleOf(Op::kRename, RenameRequest{1, "from", 2, "to", 0}),
      SampleOf(Op::kReaddir, ReaddirRequest{1, EchoFs::kFirstCookie, true, 100, 65536}),
      SampleOf(Op::kFsync, FsyncRequest{7, true}),
      SampleOf(Op::kGetxattr, NameRequest{7, "user.name"}),
      SampleOf(Op::kSetxattr, SetxattrRequest{7, "user.name"}, "value"),
      SampleOf(Op::kListxattr, InoRequest{7}),
      SampleOf(Op::kFallocate, FallocateRequest{7, fs::FallocateMode::kAllocate, 1, 2}),
      SampleOf(Op::kSeek, SeekRequest{7, 1}),
      SampleOf(Op::kCopyRange, CopyRangeRequest{7, 0, 8, 0, 100}),
      SampleOf(Op::kLock, lock),
      SampleOf(Op::kTestLock, lock),
      SampleOf(Op::kCancelLock, CancelLockRequest{5}),
      SampleOf(Op::kDropLocks, DropLocksRequest{7, "own"}),
      SampleOf(Op::kFindDone, FindDoneRequest{3}),
      SampleOf(Op::kAnswerBarrier, AnswerBarrierRequest{5, true}),
  };
}

// Owns a segment, and has no manners. `mannered` ones keep to the rules of the rings, and lie in
// what travels through them: that gets further in.
class Offender {
 public:
  Offender(RawLane first, uint64_t seed)
      : first_(std::move(first)),
        dice_(seed),
        mannered_(seed % 2 == 0),
        epochs_(first_.channel->geometry.lanes) {}

  void Run(Deadline end) {
    std::atomic<bool> stop = false;
    std::thread second([&, seed = dice_.Any()] {
      Dice dice(seed);
      while (!stop) {
        for (int i = 0; i < 64; ++i) ScrawlSomewhere(dice);
        std::this_thread::yield();
      }
    });
    while (std::chrono::steady_clock::now() < end) Step();
    stop = true;
    second.join();
  }
  uint64_t requests() const { return requests_; }
  uint64_t hellos() const { return hellos_; }

 private:
  const Geometry& geometry() const { return first_.channel->geometry; }

  void Step() {
    uint32_t index = dice_.Below(geometry().lanes);
    RawLane lane = first_.Lane(index);
    if (epochs_[index] != lane.epoch() || dice_.OneIn(200)) return SayHello(lane);
    switch (dice_.Below(mannered_ ? 100 : 12)) {
      case 0:
        return RingEverything();
      case 1:
        if (!mannered_) return LieInRings(lane);
        [[fallthrough]];
      default:
        return Ask(lane, dice_.Below(geometry().queues));
    }
  }

  void SayHello(const RawLane& lane) {
    ++hellos_;
    Hello hello = RawLane::FullHello();
    hello.epoch = lane.epoch();
    if (dice_.OneIn(8)) hello.flags = dice_.Below(32);
    auto* bytes = reinterpret_cast<uint8_t*>(&hello);
    if (dice_.OneIn(4))
      for (uint32_t n = dice_.Below(4); n != 0; --n)
        bytes[dice_.Below(sizeof hello)] ^= static_cast<uint8_t>(1u << dice_.Below(8));
    if (dice_.OneIn(16))
      for (size_t i = 0; i < sizeof hello; ++i) bytes[i] = static_cast<uint8_t>(dice_.Any());
    ScrawlOver(&lane.memory.control()->hello, &hello, sizeof hello);
    uint32_t seq = Shared(lane.memory.control()->hello_seq).load() + 1 + dice_.Below(2);
    Shared(lane.memory.control()->hello_seq).store(seq);
    lane.KnockHello();
    // Not always: a Hello while another is being answered.
    auto patience = std::chrono::steady_clock::now() + std::chrono::milliseconds(dice_.Below(20));
    while (lane.answered() != seq && std::chrono::steady_clock::now() < patience) CpuPause();
    epochs_[lane.index] = lane.epoch();
  }

  void Ask(const RawLane& lane, uint32_t queue) {
    static const std::vector<Sample> samples = Samples();
    const Sample& sample = samples[dice_.Below(samples.size())];
    const uint32_t slot = dice_.Below(geometry().slots);
    const uint32_t bytes = Compose(lane, queue, slot, sample);
    SubmissionEntry entry{slot, bytes, static_cast<uint32_t>(sample.payload.size()), 0};
    if (dice_.OneIn(4)) entry.payload_bytes = dice_.Below(geometry().payload_bytes + 1);
    if (dice_.OneIn(8))
      entry.message_bytes = static_cast<uint32_t>(sizeof(RequestHeader)) +
                            dice_.Below(geometry().message_bytes - sizeof(RequestHeader) + 1);
    if (!mannered_ && dice_.OneIn(4))
      reinterpret_cast<uint32_t*>(&entry)[dice_.Below(4)] = dice_.Number();
    QueueControl& control = *lane.memory.queue(queue);
    uint32_t next = Shared(control.submission.head).load() + 1;
    ScrawlOver(lane.submission(queue, (next - 1) % geometry().ring_entries), &entry, sizeof entry);
    Shared(control.submission.tail).store(next);
    lane.Knock(queue);
    ++requests_;
    for (int spin = 0; spin < 2000 && Shared(control.completion.tail).load() != next; ++spin)
      CpuPause();
    Shared(control.completion.head).store(Shared(control.completion.tail).load());
  }

  // A request's message and payload, often a little wrong. Its length.
  uint32_t Compose(const RawLane& lane, uint32_t queue, uint32_t slot, const Sample& sample) {
    RequestHeader header{};
    header.id = dice_.Any();
    header.op = static_cast<uint16_t>(sample.op);
    if (dice_.OneIn(4)) header.number = dice_.Number();
    std::string message(reinterpret_cast<const char*>(&header), sizeof header);
    message += sample.body;
    if (dice_.OneIn(8)) message.append(dice_.Below(300), static_cast<char>(dice_.Any()));
    if (dice_.OneIn(2)) {
      for (uint32_t n = dice_.Below(4); n != 0; --n) {
        size_t at = dice_.Below(message.size());
        message[at] = static_cast<char>(message[at] ^ (1u << dice_.Below(8)));
      }
    }
    if (dice_.OneIn(4) && message.size() >= 4) {
      uint32_t number = dice_.Number();
      std::memcpy(message.data() + dice_.Below(message.size() - 3), &number, sizeof number);
    }
    ScrawlOver(lane.memory.message(queue, slot).data(), message.data(), message.size());
    ScrawlOver(lane.memory.payload(queue, slot).data(), sample.payload.data(),
               sample.payload.size());
    return static_cast<uint32_t>(message.size());
  }

  void LieInRings(const RawLane& lane) {
    QueueControl& queue = *lane.memory.queue(dice_.Below(geometry().queues));
    EventControl& events = *lane.memory.event_control();
    Word* words[] = {&queue.submission.tail,
                     &queue.submission.head,
                     &queue.submission.sleeps,
                     &queue.completion.tail,
                     &queue.completion.head,
                     &queue.completion.sleeps,
                     &events.ring.head,
                     &events.ring.tail,
                     &events.ring.sleeps,
                     &events.lost,
                     &lane.memory.control()->hello_seq,
                     &lane.memory.control()->answer_seq};
    Shared(*words[dice_.Below(std::size(words))]).store(dice_.Number());
  }

  void RingEverything() {
    for (const UniqueFd& fd : first_.channel->to_server) Ring(fd.get());
  }

  // Wherever the server reads, or has written.
  void ScrawlSomewhere(Dice& dice) const {
    LaneMemory lane = first_.Lane(dice.Below(geometry().lanes)).memory;
    uint32_t queue = dice.Below(geometry().queues), slot = dice.Below(geometry().slots);
    std::byte* at = nullptr;
    switch (dice.Below(mannered_ ? 2 : 12)) {
      case 0:
        at = lane.payload(queue, slot).data() + dice.Below(6000);
        break;
      default:
        at = lane.message(queue, slot).data() + dice.Below(300);
        break;
      case 2:
        at = first_.channel->segment->memory().data() + dice.Below(kPageBytes);
        break;
      case 3:
        at = reinterpret_cast<std::byte*>(lane.control()) + dice.Below(2048);
        break;
      case 4:
        at = reinterpret_cast<std::byte*>(lane.queue(queue)) + dice.Below(kPageBytes);
        break;
      case 5:
        at = reinterpret_cast<std::byte*>(lane.event_control()) + dice.Below(kPageBytes);
        break;
    }
    Scrawl(at, static_cast<uint8_t>(dice.Any()));
  }

  const RawLane first_;
  Dice dice_;
  const bool mannered_;
  std::vector<uint64_t> epochs_;  // of each lane, at the latest Hello
  uint64_t requests_ = 0;
  uint64_t hellos_ = 0;
};

// What a guest that has rebooted does; the epoch and hello_seq it finds may be anything.
bool SaysCleanHello(const RawLane& lane) {
  for (Deadline end = InSeconds(20); std::chrono::steady_clock::now() < end;) {
    uint64_t epoch = lane.epoch();
    uint32_t seq = lane.PutHello(RawLane::FullHello());
    Deadline again = std::min(end, InSeconds(3));
    while (lane.answered() != seq && lane.epoch() == epoch &&
           std::chrono::steady_clock::now() < again)
      std::this_thread::sleep_for(1ms);
    const Answer& answer = lane.memory.control()->answer;
    if (lane.answered() == seq && answer.magic == kAnswerMagic && answer.epoch == lane.epoch())
      return answer.error == 0;
  }
  return false;
}

class SegmentFuzzTest : public LaneFixture {
 protected:
  void SetUp() override {
    StartServer({.workers = 3});
    bystander_ = Connect();
    ASSERT_NE(bystander_, nullptr);
  }
  void AddVmPort(uint64_t seed) {
    Dice dice(seed);
    Geometry geometry{.lanes = 1 + dice.Below(4),
                      .queues = 1 + dice.Below(4),
                      .ring_entries = 2u << dice.Below(3),
                      .slots = 1 + dice.Below(4),
                      .message_bytes = kMessageBytesMin << dice.Below(2),
                      .events = 4u << dice.Below(6)};
    auto opener = [this](const OpenRequest&) -> Outcome<std::shared_ptr<fs::FileSystem>> {
      auto echo = std::make_shared<EchoFs>();
      echo->Unblock();
      std::lock_guard lock(echoes_mutex_);
      std::erase_if(echoes_, [](const auto& weak) { return weak.expired(); });
      echoes_.push_back(echo);
      return echo;
    };
    auto added = server_->AddPort({.name = "vm",
                                   .path = vm(),
                                   .uid = ::geteuid(),
                                   .geometry = geometry,
                                   .opener = opener,
                                   .single = true});
    ASSERT_TRUE(added) << added.error().message;
  }
  std::string vm() const { return directory_ + "/vm"; }

  // Calls on the other channel until told to stop, and events to all.
  void Bystand(const std::atomic<bool>& stop) {
    std::vector<std::byte> data(5000), back(5000);
    for (uint64_t call = 0; !stop; ++call) {
      InodeId ino = 1000 + call % 7777;
      auto start = std::chrono::steady_clock::now();
      auto attr = bystander_->Getattr({}, ino);
      auto read = bystander_->Read({}, 5000, call, back);
      auto written = bystander_->Write({}, {.ino = ino, .data = data});
      latencies_.push_back((std::chrono::steady_clock::now() - start) / 3);
      ASSERT_TRUE(attr && read && written) << "call " << call;
      ASSERT_EQ(*attr, EchoAttr(ino));
      for (size_t i = 0; i < back.size(); ++i)
        ASSERT_EQ(back[i], static_cast<std::byte>((call + i) * 7));
      if (call % 16 == 0) SendEvents(ino);
    }
  }
  void SendEvents(InodeId ino) {
    for (const auto& echo : echoes())
      echo->Send({.kind = fs::Event::Kind::kEntry, .ino = ino, .name = "name"});
  }

  void Round(uint64_t seed) {
    AddVmPort(seed);
    RawLane first = RawLane::Connect(vm());
    Offender offender(first, seed);
    std::atomic<bool> stop = false;
    std::thread bystander([&] { Bystand(stop); });
    offender.Run(std::chrono::steady_clock::now() + kRoundTime);
    stop = true;
    bystander.join();
    requests_ += offender.requests();
    hellos_ += offender.hellos();
    ExpectIdle();
    for (uint32_t i = 0; i < first.channel->geometry.lanes; ++i) {
      RawLane lane = first.Lane(i);
      EXPECT_TRUE(SaysCleanHello(lane)) << "lane " << i;
      lane.Submit(0, {0, lane.Compose(0, 0, ""), 0, 0});
      EXPECT_EQ(lane.FirstReply(0), 0) << "lane " << i;
    }
    for (const LaneInfo& info : server_->Lanes()) {
      if (info.port != "vm") continue;
      sessions_ += info.sessions;
      drops_ += info.drops;
      EXPECT_EQ(info.drops != 0, !info.drop_reason.empty());
    }
    EXPECT_TRUE(server_->RemovePort("vm"));
  }
  // Whatever is in the memory now, nobody works at it.
  void ExpectIdle() {
    std::this_thread::sleep_for(50ms);
    uint64_t before = CpuNs();
    std::this_thread::sleep_for(kIdleTime);
    EXPECT_LT(static_cast<double>(CpuNs() - before),
              kIdleCpuMax * std::chrono::nanoseconds(kIdleTime).count());
  }

  std::shared_ptr<Client> bystander_;
  std::vector<std::chrono::nanoseconds> latencies_;
  uint64_t requests_ = 0, hellos_ = 0, sessions_ = 0, drops_ = 0;
};

TEST_F(SegmentFuzzTest, NobodyElseIsHurtAndAllIsForgiven) {
  const uint64_t first = FromEnvironment("PRISM_FUZZ_SEED", 1);
  const auto seconds = FromEnvironment("PRISM_FUZZ_SECONDS", 0);
  const Deadline end = InSeconds(static_cast<int>(seconds));
  int64_t resident = 0;
  uint64_t rounds = 0;
  for (; seconds == 0 ? rounds < kRounds : std::chrono::steady_clock::now() < end; ++rounds) {
    SCOPED_TRACE(fmt::format("PRISM_FUZZ_SEED={}", first + rounds));
    if (seconds != 0) std::fprintf(stderr, "seed %lu\n", first + rounds);
    Round(first + rounds);
    if (HasFailure()) return;
    if (rounds == 1) resident = ResidentBytes();  // all kinds of buffers have been needed once
  }
  int64_t growth = resident == 0 ? 0 : ResidentBytes() - resident;
  EXPECT_LT(growth, kGrowthMax);
  EXPECT_GT(requests_, 10 * rounds);
  EXPECT_GT(sessions_, 2 * rounds);
  EXPECT_GT(drops_, 0u);
  ASSERT_GT(latencies_.size(), 2 * rounds);
  std::sort(latencies_.begin(), latencies_.end());
  auto p99 = latencies_[latencies_.size() * 99 / 100];
  EXPECT_LT(p99, kP99Max);
  fmt::print(
      "{} rounds: {} requests, {} Hellos, {} sessions, {} dropped; beside them {} calls, "
      "p99 {} us, longest {} us; grown by {} KiB\n",
      rounds, requests_, hellos_, sessions_, drops_, 3 * latencies_.size(), p99.count() / 1000,
      latencies_.back().count() / 1000, growth / 1024);
}

}  // namespace
}  // namespace prism::vrpc
