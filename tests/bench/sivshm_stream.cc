#include "tests/bench/sivshm_stream.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "tests/bench/measure.h"
#include "vrpc/doorbell.h"
#include "vrpc/ring.h"
#include "vrpc/spin.h"

namespace prism::bench {
namespace {

using vrpc::Consumer, vrpc::Look, vrpc::Producer;
using Entry = vrpc::SubmissionEntry;

constexpr uint64_t kSpinNs = 50'000;
constexpr uint32_t kWarmUp = 16;  // chunks, before the clock starts

// The producer in a process of its own; the consumer, here, is timed.
double Stream(const std::function<void(uint32_t)>& produce, const std::function<void()>& consume,
              uint32_t chunks) {
  std::fflush(stdout);
  pid_t producer = ::fork();
  if (producer < 0) Die("fork failed");
  if (producer == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    produce(kWarmUp + chunks);
    ::pause();
  }
  for (uint32_t i = 0; i < kWarmUp; ++i) consume();
  uint64_t start_ns = NowNs();
  for (uint32_t i = 0; i < chunks; ++i) consume();
  double seconds = static_cast<double>(NowNs() - start_ns) * 1e-9;
  ::kill(producer, SIGKILL);
  ::waitpid(producer, nullptr, 0);
  return static_cast<double>(chunks) * kChunkBytes / seconds;
}

// The next entry; polls a little, then sleeps.
Entry Await(Consumer<Entry>& consumer, int bell) {
  Entry entry;
  for (uint64_t end_ns = NowNs() + kSpinNs;;) {
    if (consumer.Pop(entry) == Look::kEntry) return entry;
    if (NowNs() < end_ns) {
      vrpc::CpuPause();
    } else if (consumer.PrepareSleep()) {
      vrpc::AwaitRing(bell);
      consumer.Wake();
    }
  }
}

void Put(Producer<Entry>& producer, uint32_t slot, int bell) {
  if (producer.Push({.slot = slot}) != Look::kEntry) Die("a ring is full");
  if (producer.ConsumerSleeps()) vrpc::Ring(bell);
}

}  // namespace

double StreamThroughMemory(const vrpc::Geometry& geometry, uint32_t lane_index, uint32_t chunks) {
  vrpc::Segment segment = Must(vrpc::Segment::Create(geometry), "segment");
  vrpc::LaneMemory lane(segment.memory().data(), geometry, lane_index);
  UniqueFd full_bell = Must(vrpc::MakeDoorbell(), "eventfd");
  UniqueFd free_bell = Must(vrpc::MakeDoorbell(), "eventfd");
  vrpc::QueueControl* control = lane.queue(0);
  Consumer<Entry> full(&control->submission, lane.submissions(0), geometry.ring_entries);
  Producer<Entry> give(&control->completion, lane.completions(0), geometry.ring_entries);
  for (uint32_t slot = 0; slot < geometry.slots; ++slot) Put(give, slot, free_bell.get());
  auto produce = [&](uint32_t count) {  // in its own mapping: a segment's is not inherited
    vrpc::Segment own = Must(vrpc::Segment::Open(UniqueFd(::dup(segment.fd()))), "segment");
    vrpc::LaneMemory mine(own.memory().data(), geometry, lane_index);
    vrpc::QueueControl* rings = mine.queue(0);
    Producer<Entry> fill(&rings->submission, mine.submissions(0), geometry.ring_entries);
    Consumer<Entry> free(&rings->completion, mine.completions(0), geometry.ring_entries);
    std::vector<std::byte> source(kChunkBytes, std::byte{1});
    for (; count != 0; --count) {
      Entry entry = Await(free, free_bell.get());
      std::memcpy(mine.payload(0, entry.slot).data(), source.data(), kChunkBytes);
      Put(fill, entry.slot, full_bell.get());
    }
  };
  std::vector<std::byte> sink(kChunkBytes);
  auto consume = [&] {
    Entry entry = Await(full, full_bell.get());
    std::memcpy(sink.data(), lane.payload(0, entry.slot).data(), kChunkBytes);
    asm volatile("" ::"r"(sink.data()) : "memory");
    Put(give, entry.slot, free_bell.get());
  };
  return Stream(produce, consume, chunks);
}

double StreamThroughTcp(uint32_t chunks) {
  UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      ::listen(listener.get(), 1) != 0 ||
      ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &length) != 0)
    Die("cannot listen on loopback");
  UniqueFd worker(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (::connect(worker.get(), reinterpret_cast<sockaddr*>(&address), length) != 0)
    Die("cannot connect to loopback");
  UniqueFd manager(::accept(listener.get(), nullptr, nullptr));
  auto produce = [&](uint32_t count) {
    std::vector<std::byte> source(kChunkBytes, std::byte{1});
    for (; count != 0; --count) {
      for (size_t sent = 0; sent < kChunkBytes;) {
        ssize_t step = ::send(manager.get(), source.data() + sent, kChunkBytes - sent, 0);
        if (step <= 0) Die("send failed");
        sent += static_cast<size_t>(step);
      }
    }
  };
  std::vector<std::byte> sink(kChunkBytes);
  auto consume = [&] {
    if (::recv(worker.get(), sink.data(), kChunkBytes, MSG_WAITALL) != kChunkBytes)
      Die("recv failed");
  };
  return Stream(produce, consume, chunks);
}

}  // namespace prism::bench
