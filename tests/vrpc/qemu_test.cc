// A real, unmodified QEMU with an ivshmem-doorbell device at a virtual machine's port. It
// stands still; QEMU's qtest socket lets the test be the processor, which sets up the device and
// says a Hello through its memory, as a guest's driver would.
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <iterator>
#include <sstream>

#include "tests/vrpc/lane_fixture.h"
#include "tests/vrpc/qtest.h"
#include "tests/vrpc/raw_lane.h"

namespace prism::vrpc {
namespace {

using namespace std::chrono_literals;

constexpr Geometry kVm{.lanes = 2, .queues = 2};
constexpr uint64_t kRegisters = 0xd8000000, kMemory = 0xd0000000;  // where the BARs shall be

class QemuTest : public LaneFixture {
 protected:
  void SetUp() override {
    if (::access("/usr/bin/qemu-system-x86_64", X_OK) != 0) GTEST_SKIP() << "needs qemu-system-x86";
    StartServer();
    ASSERT_TRUE(server_->AddPort({.name = "vm",
                                  .path = directory_ + "/vm",
                                  .uid = ::geteuid(),
                                  .geometry = kVm,
                                  .opener = EchoOpener(),
                                  .single = true}));
  }
  void TearDown() override { EndQemu(); }

  void StartQemu() {
    std::istringstream command(fmt::format(
        "qemu-system-x86_64 -M q35 -m 128 -nodefaults -display none -S -qtest-log /dev/null "
        "-qtest unix:{0}/qtest,server=on,wait=off -chardev socket,id=lane,path={0}/vm "
        "-device ivshmem-doorbell,chardev=lane,vectors={1}",
        directory_, kVm.vectors()));
    std::vector<std::string> arguments{std::istream_iterator<std::string>(command), {}};
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    qemu_ = ::fork();
    if (qemu_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::execv("/usr/bin/qemu-system-x86_64", pointers.data());
    ::_exit(127);
  }
  void EndQemu() {
    if (qemu_ <= 0) return;
    ::kill(qemu_, SIGKILL);
    ::waitpid(qemu_, nullptr, 0);
    qemu_ = 0;
  }
  std::optional<LaneInfo> Info(uint32_t lane) {
    for (const LaneInfo& info : server_->Lanes())
      if (info.port == "vm" && info.lane == lane) return info;
    return std::nullopt;
  }
  Outcome<Processor> Power() {
    Outcome<UniqueFd> socket = Explain(Err::kTimedOut, "QEMU does not come up");
    Soon([&] { return (socket = ConnectTo(directory_ + "/qtest", InSeconds(5))).has_value(); },
         20s);
    if (!socket) return tl::unexpected(socket.error());
    return Processor(std::move(*socket));
  }
  pid_t qemu_ = 0;
};

uint32_t SayHelloThrough(Processor& processor, uint32_t lane) {
  const uint64_t control = kMemory + HeaderFor(kVm).lanes_offset + lane * HeaderFor(kVm).lane_bytes;
  Hello hello = RawLane::FullHello();
  hello.epoch = processor.ReadWord(control + offsetof(LaneControl, epoch));
  processor.Write(control + offsetof(LaneControl, hello), &hello, sizeof hello);
  auto seq = static_cast<uint32_t>(processor.ReadWord(control)) + 1;
  processor.Write(control, &seq, sizeof seq);
  processor.Do(fmt::format("writel {:#x} {:#x}", kRegisters + 12, kVm.handshake_vector(lane)));
  auto answered = [&] { return static_cast<uint32_t>(processor.ReadWord(control + 128)) == seq; };
  for (int i = 0; i < 500 && !answered(); ++i) std::this_thread::sleep_for(10ms);
  return answered() ? static_cast<uint32_t>(processor.ReadWord(control + 1024 + 8) >> 32)
                    : kErrCount;
}

TEST_F(QemuTest, AGuestSaysHelloAndAsksAndReboots) {
  StartQemu();
  auto processor = Power();
  ASSERT_TRUE(processor) << processor.error().message;
  uint32_t device = FindDevice(*processor);
  ASSERT_LT(device, 32u);
  auto map = [&] {
    processor->WriteConfig(device, 0x10, kRegisters);
    processor->WriteConfig(device, 0x18, kMemory);
    processor->WriteConfig(device, 0x1c, 0);
    processor->WriteConfig(device, 0x04, 0x6);  // memory, bus master
  };
  processor->WriteConfig(device, 0x18, 0xffffffff);
  EXPECT_EQ(~(processor->ReadConfig(device, 0x18) & ~15u) + 1, HeaderFor(kVm).segment_bytes);
  map();
  EXPECT_EQ(processor->ReadWord(kMemory), kSegmentMagic);

  for (uint32_t lane : {0u, 1u}) {
    ASSERT_EQ(SayHelloThrough(*processor, lane), 0u);
    EXPECT_EQ(Info(lane)->pid, qemu_);
  }
  // An empty request on queue 1 of lane 1.
  SegmentHeader header = HeaderFor(kVm);
  uint64_t lane = kMemory + header.lanes_offset + header.lane_bytes;
  uint64_t queue = lane + header.queues_offset + kPageBytes;
  RequestHeader request{.id = 99};
  processor->Write(lane + header.messages_offset + 2 * kMessageBytesMin, &request, sizeof request);
  SubmissionEntry entry{.slot = 0, .message_bytes = sizeof request};
  processor->Write(queue + kSubmissionOffset, &entry, sizeof entry);
  uint32_t tail = 1;
  processor->Write(queue, &tail, sizeof tail);
  processor->Do(fmt::format("writel {:#x} {:#x}", kRegisters + 12, kVm.queue_vector(1, 1)));
  EXPECT_TRUE(Soon([&] {
    return static_cast<uint32_t>(processor->ReadWord(queue + sizeof(RingControl))) == 1;
  }));
  EXPECT_EQ(processor->ReadWord(lane + header.messages_offset + 2 * kMessageBytesMin), 99u);
  EXPECT_EQ(Info(1)->calls, 1u);

  // The socket does not notice a reboot; the next Hello says it.
  int alive = EchoFs::alive;
  map();
  EXPECT_EQ(SayHelloThrough(*processor, 0), 0u);
  EXPECT_EQ(Info(0)->sessions, 2u);
  EXPECT_EQ(EchoFs::alive, alive);
  EXPECT_TRUE(server_->Drop(Info(1)->id));
  EXPECT_TRUE(Soon([&] { return EchoFs::alive == alive - 1; }));
  EXPECT_EQ(SayHelloThrough(*processor, 1), 0u);
  EndQemu();
  EXPECT_TRUE(Soon([&] { return !Info(0) && EchoFs::alive == alive - 2; }));
}

TEST_F(QemuTest, ASecondOneIsRefusedAndANewOneComesIn) {
  RawLane lane = RawLane::Open(directory_ + "/vm");
  StartQemu();
  int status = 0;
  ASSERT_EQ(::waitpid(qemu_, &status, 0), qemu_);  // it gives up by itself
  qemu_ = 0;
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 1);
  lane = RawLane{};
  StartQemu();
  auto processor = Power();
  ASSERT_TRUE(processor) << processor.error().message;
  EXPECT_LT(FindDevice(*processor), 32u);
}

}  // namespace
}  // namespace prism::vrpc
