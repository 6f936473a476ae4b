#include "vrpc/handshake.h"

#include <poll.h>
#include <sys/random.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <random>

#include "vrpc/doorbell.h"
#include "vrpc/ring.h"
#include "vrpc/sockets.h"

namespace prism::vrpc {
namespace {

constexpr int kPollMs = 1;  // without eventfds

// Sleeps until something may have happened. False: the channel has ended.
bool AwaitNews(const Endpoint& endpoint, uint32_t vector, Deadline deadline) {
  int event_fd = endpoint.EventFd(vector);
  pollfd fds[] = {{.fd = endpoint.lifeline(), .events = POLLIN | POLLRDHUP, .revents = 0},
                  {.fd = event_fd, .events = POLLIN, .revents = 0}};  // negative ones are skipped
  int wait_ms = RemainingMs(deadline);
  ::poll(fds, 2, event_fd < 0 ? std::min(wait_ms, kPollMs) : wait_ms);
  if (event_fd >= 0) TryClear(event_fd);
  return fds[0].revents == 0;
}

// Returns its number.
uint32_t PutHello(const LaneMemory& lane, const Hello& hello) {
  LaneControl* control = lane.control();
  uint32_t seq = Shared(control->hello_seq).load(std::memory_order_relaxed) + 1;
  std::memcpy(&control->hello, &hello, sizeof hello);
  Shared(control->hello_seq).store(seq, std::memory_order_seq_cst);
  return seq;
}

Outcome<Answer> Judge(const Answer& answer, uint64_t epoch) {
  if (answer.magic != kAnswerMagic || answer.error >= kErrCount ||
      answer.message_bytes > kAnswerMessageMax)
    return Explain(Err::kProtocol, "the server's answer is malformed");
  if (answer.error != 0)
    return tl::unexpected<Failure>(
        Failure{static_cast<Err>(answer.error), std::string(answer.message, answer.message_bytes)});
  if (answer.version != kVersion)
    return Explain(Err::kProtocol, "the server chose version {}, this client speaks {}",
                   answer.version, kVersion);
  if (answer.epoch != epoch)
    return Explain(Err::kProtocol, "the server's answer is of another epoch");
  return answer;
}

}  // namespace

uint64_t RandomNumber() {
  uint64_t number = 0;
  while (number == 0)
    if (::getrandom(&number, sizeof number, 0) != sizeof number) number = std::random_device()();
  return number;
}

Hello HelloFor(std::string_view volume) {
  Hello hello{};
  hello.magic = kHelloMagic;
  hello.version_min = kVersion;
  hello.version_max = kVersion;
  hello.volume_bytes = static_cast<uint32_t>(std::min(volume.size(), kVolumeNameMax));
  std::memcpy(hello.volume, volume.data(), hello.volume_bytes);
  return hello;
}

Outcome<Answer> SayHello(Endpoint& endpoint, const LaneMemory& lane, uint32_t vector, Hello& hello,
                         Deadline deadline) {
  uint32_t seq = 0;
  hello.epoch = 0;
  for (;;) {
    uint64_t epoch = LoadEpoch(lane);
    if (hello.epoch != epoch) {
      hello.epoch = epoch;
      seq = PutHello(lane, hello);
      endpoint.RingServer(vector);
    }
    if (Shared(lane.control()->answer_seq).load(std::memory_order_acquire) == seq) {
      Answer answer;
      FetchOnce(&answer, &lane.control()->answer, sizeof answer);
      return Judge(answer, hello.epoch);
    }
    if (!AwaitNews(endpoint, vector, deadline))
      return Explain(Err::kDisconnected, "the server closed the connection");
    if (RemainingMs(deadline) == 0)
      return Explain(Err::kTimedOut, "the server did not answer in time");
  }
}

Outcome<void> SayBye(Endpoint& endpoint, const LaneMemory& lane, uint32_t vector,
                     Deadline deadline) {
  Hello bye = HelloFor("");
  bye.flags = kHelloBye;
  PRISM_TRY(SayHello(endpoint, lane, vector, bye, deadline));
  return {};
}

bool HasSession(const LaneMemory& lane) {
  Answer answer;
  FetchOnce(&answer, &lane.control()->answer, sizeof answer);
  return answer.magic == kAnswerMagic && answer.error == 0 && answer.session != 0 &&
         answer.epoch == LoadEpoch(lane);
}

Hello FetchHello(const LaneMemory& lane) {
  Hello hello;
  FetchOnce(&hello, &lane.control()->hello, sizeof hello);
  return hello;
}

Outcome<void> CheckHello(const Hello& hello) {
  if (hello.magic != kHelloMagic) return Explain(Err::kProtocol, "this is not a lane's hello");
  if (hello.version_min > kVersion || hello.version_max < kVersion)
    return Explain(Err::kNotSupported, "the server speaks version {}, the client {} to {}",
                   kVersion, hello.version_min, hello.version_max);
  constexpr uint32_t kFlags =
      kHelloImporting | kHelloResume | kHelloBye | kHelloBarriers | kHelloSnapshots;
  if ((hello.flags & ~kFlags) != 0 || hello.reserved != 0)
    return Explain(Err::kNotSupported, "the hello has flags this server does not know");
  if ((hello.flags & kHelloBye) != 0) return {};
  if (hello.client == 0) return Explain(Err::kInvalid, "a client's number is never 0");
  if (hello.volume_bytes == 0 || hello.volume_bytes > kVolumeNameMax)
    return Explain(Err::kInvalid, "a volume's name has 1 to {} bytes", kVolumeNameMax);
  return {};
}

void ResetRings(const LaneMemory& lane) {
  auto reset = [](RingControl& ring, uint32_t sleeps) {
    Shared(ring.tail).store(0, std::memory_order_relaxed);
    Shared(ring.head).store(0, std::memory_order_relaxed);
    Shared(ring.sleeps).store(sleeps, std::memory_order_relaxed);
  };
  for (uint32_t i = 0; i < lane.geometry().queues; ++i) {
    // The server sleeps until a worker is told otherwise.
    reset(lane.queue(i)->submission, 1);
    reset(lane.queue(i)->completion, 0);
  }
  reset(lane.event_control()->ring, 0);
  Shared(lane.event_control()->lost).store(0, std::memory_order_relaxed);
}

void PutAnswer(const LaneMemory& lane, uint32_t hello_seq, const Answer& answer) {
  std::memcpy(&lane.control()->answer, &answer, sizeof answer);
  Shared(lane.control()->answer_seq).store(hello_seq, std::memory_order_release);
}

void PutEpoch(const LaneMemory& lane, uint64_t epoch) {
  std::atomic_ref<uint64_t>(lane.control()->epoch).store(epoch, std::memory_order_seq_cst);
}

Answer Refusal(const Failure& failure, uint64_t epoch) {
  Answer answer{};
  answer.magic = kAnswerMagic;
  answer.version = kVersion;
  answer.epoch = epoch;
  answer.error = static_cast<uint32_t>(failure.code == Err::kOk ? Err::kIo : failure.code);
  answer.message_bytes = static_cast<uint32_t>(std::min(failure.message.size(), kAnswerMessageMax));
  std::memcpy(answer.message, failure.message.data(), answer.message_bytes);
  return answer;
}

}  // namespace prism::vrpc
