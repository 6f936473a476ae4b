#include "tests/bench/sivshm_qemu.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <iterator>
#include <sstream>
#include <thread>

#include "tests/bench/central.h"
#include "tests/bench/measure.h"
#include "tests/vrpc/qtest.h"
#include "vrpc/handshake.h"
#include "vrpc/sockets.h"

namespace prism::bench {
namespace {

using namespace std::chrono_literals;
using vrpc::Processor;

constexpr uint64_t kRegisters = 0xf0000000, kMemory = 0xc0000000;  // where the BARs shall be
constexpr uint64_t kIvPosition = 8, kDoorbell = 12;
// QEMU takes the eventfds in after the device is there, and drops a doorbell that it does not know
// yet: a guest rings again.
constexpr auto kRingAgain = 20ms;

void Spawn(Vm& vm, uint32_t vectors) {
  std::istringstream command(fmt::format(
      "qemu-system-x86_64 -M q35 -m 64 -nodefaults -no-user-config -display none -S "
      "-accel tcg -qtest-log /dev/null -qtest unix:{},server=on,wait=off "
      "-chardev socket,id=lane,path={} -device ivshmem-doorbell,chardev=lane,vectors={}",
      vm.qtest_path, vm.lane_path, vectors));
  std::vector<std::string> arguments{std::istream_iterator<std::string>(command), {}};
  std::vector<char*> pointers;
  for (std::string& argument : arguments) pointers.push_back(argument.data());
  pointers.push_back(nullptr);
  vm.pid = ::fork();
  if (vm.pid < 0) Die("fork failed");
  if (vm.pid != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::execv("/usr/bin/qemu-system-x86_64", pointers.data());
  ::_exit(127);
}

Processor Power(const Vm& vm) {
  for (int i = 0; i < 30000; ++i) {
    auto socket = vrpc::ConnectTo(vm.qtest_path, std::chrono::steady_clock::now() + 60s);
    if (socket) return Processor(std::move(*socket));
    std::this_thread::sleep_for(2ms);
  }
  Die("QEMU does not come up");
}

// Makes the device's registers and memory accessible, as firmware would.
void MapDevice(Processor& processor) {
  uint32_t device = vrpc::FindDevice(processor);
  if (device == 32) Die("QEMU has no ivshmem device");
  processor.WriteConfig(device, 0x10, kRegisters);
  processor.WriteConfig(device, 0x18, kMemory);
  processor.WriteConfig(device, 0x1c, 0);
  processor.WriteConfig(device, 0x04, 0x6);  // memory, bus master
}

uint32_t ReadHalf(Processor& processor, uint64_t at) {
  return static_cast<uint32_t>(processor.Number(fmt::format("readl {:#x}", at)));
}

void RingUntil(Processor& processor, uint32_t doorbell, const std::function<bool()>& answered) {
  for (int rings = 0; rings < 3000; ++rings) {
    processor.Do(fmt::format("writel {:#x} {:#x}", kRegisters + kDoorbell, doorbell));
    auto again = std::chrono::steady_clock::now() + kRingAgain;
    while (std::chrono::steady_clock::now() < again) {
      if (answered()) return;
      std::this_thread::sleep_for(500us);
    }
  }
  Die("the manager does not answer a QEMU");
}

void AskManager(Processor& processor) {
  uint64_t id = ReadHalf(processor, kRegisters + kIvPosition);
  uint64_t desk = kMemory + id * sizeof(Desk);
  uint32_t asked = 1;
  processor.Write(desk + offsetof(Desk, asked), &asked, sizeof asked);
  RingUntil(processor, 0,
            [&] { return ReadHalf(processor, desk + offsetof(Desk, answered)) == 1; });
}

void SayHello(Processor& processor, const vrpc::Geometry& geometry) {
  const uint64_t control = kMemory + vrpc::HeaderFor(geometry).lanes_offset;
  vrpc::Hello hello = vrpc::HelloFor("bench");
  hello.client = vrpc::RandomNumber();
  hello.epoch = processor.ReadWord(control + offsetof(vrpc::LaneControl, epoch));
  processor.Write(control + offsetof(vrpc::LaneControl, hello), &hello, sizeof hello);
  uint32_t seq = ReadHalf(processor, control) + 1;
  processor.Write(control, &seq, sizeof seq);
  RingUntil(processor, geometry.handshake_vector(0), [&] {
    return ReadHalf(processor, control + offsetof(vrpc::LaneControl, answer_seq)) == seq;
  });
  if (ReadHalf(processor,
               control + offsetof(vrpc::LaneControl, answer) + offsetof(vrpc::Answer, error)) != 0)
    Die("the server refuses a QEMU");
}

QemuTimes RunVms(std::vector<Vm> vms, uint32_t vectors,
                 const std::function<void(Processor&)>& ask) {
  const uint64_t start_ns = NowNs();
  for (Vm& vm : vms) Spawn(vm, vectors);
  std::atomic<uint64_t> up_ns = 0, done_ns = 0;
  auto latest = [](std::atomic<uint64_t>& of, uint64_t now) {
    for (uint64_t seen = of; seen < now && !of.compare_exchange_weak(seen, now);) {
    }
  };
  std::vector<std::thread> threads;
  for (const Vm& vm : vms)
    threads.emplace_back([&] {
      Processor processor = Power(vm);
      MapDevice(processor);
      latest(up_ns, NowNs());
      ask(processor);
      latest(done_ns, NowNs());
    });
  for (std::thread& thread : threads) thread.join();
  for (const Vm& vm : vms) ::kill(vm.pid, SIGKILL);
  for (const Vm& vm : vms) ::waitpid(vm.pid, nullptr, 0);
  for (const Vm& vm : vms) ::unlink(vm.qtest_path.c_str());
  return {static_cast<double>(up_ns - start_ns) * 1e-6,
          static_cast<double>(done_ns - start_ns) * 1e-6};
}

}  // namespace

QemuTimes RunCentralVms(std::vector<Vm> vms, uint32_t vectors) {
  return RunVms(std::move(vms), vectors, AskManager);
}

QemuTimes RunDirectVms(std::vector<Vm> vms, const vrpc::Geometry& geometry) {
  return RunVms(std::move(vms), geometry.vectors(),
                [&](Processor& processor) { SayHello(processor, geometry); });
}

}  // namespace prism::bench
