// A client that has a channel's memory in its bare hands, and none of the library's manners.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fs/base/check.h"
#include "vrpc/doorbell.h"
#include "vrpc/handshake.h"
#include "vrpc/ivshmem.h"
#include "vrpc/messages.h"
#include "vrpc/ring.h"
#include "vrpc/segment.h"
#include "vrpc/sockets.h"
#include "vrpc/spin.h"

namespace prism::vrpc {

inline Deadline InSeconds(int seconds) {
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

// One lane of a channel; several may be of the same.
struct RawLane {
  // What belongs to the whole channel.
  struct Parts {
    UniqueFd socket;
    std::optional<Segment> segment;
    Geometry geometry;
    std::vector<UniqueFd> to_server, to_client;
  };
  std::shared_ptr<Parts> channel;
  uint32_t index = 0;
  LaneMemory memory;

  // The channel of a port, and its lane `index`; no Hello yet.
  static RawLane Connect(const std::string& path, uint32_t index = 0,
                         std::chrono::milliseconds pause = {}) {
    auto parts = std::make_shared<Parts>();
    auto socket = ConnectTo(path, InSeconds(5));
    PRISM_CHECK(socket);
    parts->socket = std::move(*socket);
    std::this_thread::sleep_for(pause);  // before it listens
    auto receive = [&](int64_t value) {
      auto message = ReceiveMessage(parts->socket.get(), InSeconds(5));
      PRISM_CHECK(message && message->value == value);
      return std::move(message->fd);
    };
    receive(kIvshmemVersion);
    auto id = ReceiveMessage(parts->socket.get(), InSeconds(5));
    PRISM_CHECK(id && id->value > 0);
    parts->segment.emplace(std::move(*Segment::Open(receive(kIvshmemMemory))));
    parts->geometry = *CheckHeader(parts->segment->memory());
    for (uint32_t i = 0; i < parts->geometry.vectors(); ++i)
      parts->to_server.push_back(receive(kIvshmemServerId));
    for (uint32_t i = 0; i < parts->geometry.vectors(); ++i)
      parts->to_client.push_back(receive(id->value));
    return RawLane{std::move(parts), 0, {}}.Lane(index);
  }
  RawLane Lane(uint32_t other) const {
    return {channel, other, {channel->segment->memory().data(), channel->geometry, other}};
  }
  // Connected, with a session on volume "v".
  static RawLane Open(const std::string& path) {
    RawLane lane = Connect(path);
    PRISM_CHECK(lane.Greet(FullHello()) == Err::kOk);
    return lane;
  }

  static Hello FullHello() {
    Hello hello = HelloFor("v");
    hello.client = 4711;
    return hello;
  }
  // Writes a hello as it is, with the lane's epoch, and rings. Returns its number.
  uint32_t PutHello(Hello hello) const {
    hello.epoch = LoadEpoch(memory);
    return PutHelloOf(hello);
  }
  uint32_t PutHelloOf(const Hello& hello) const {
    LaneControl* control = memory.control();
    std::memcpy(&control->hello, &hello, sizeof hello);
    uint32_t seq = Shared(control->hello_seq).load() + 1;
    Shared(control->hello_seq).store(seq);
    KnockHello();
    return seq;
  }
  uint32_t answered() const { return Shared(memory.control()->answer_seq).load(); }
  // The error that a hello is answered with; kTimedOut: with nothing.
  Err Greet(const Hello& hello, int seconds = 5) const {
    uint32_t seq = PutHello(hello);
    auto end = InSeconds(seconds);
    while (answered() != seq) {
      if (std::chrono::steady_clock::now() > end) return Err::kTimedOut;
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    return static_cast<Err>(memory.control()->answer.error);
  }
  uint64_t epoch() const { return LoadEpoch(memory); }
  // Whether the server ends the session soon.
  bool Dropped(uint64_t epoch_before) const {
    auto end = InSeconds(5);
    while (epoch() == epoch_before)
      if (std::chrono::steady_clock::now() > end) return false;
    return true;
  }

  int doorbell(uint32_t queue) const {
    return channel->to_server[channel->geometry.queue_vector(index, queue)].get();
  }
  int completion(uint32_t queue) const {
    return channel->to_client[channel->geometry.queue_vector(index, queue)].get();
  }
  int notify() const { return channel->to_client[channel->geometry.handshake_vector(index)].get(); }
  void KnockHello() const {
    Ring(channel->to_server[channel->geometry.handshake_vector(index)].get());
  }
  void Knock(uint32_t queue) const { Ring(doorbell(queue)); }

  SubmissionEntry* submission(uint32_t queue, uint32_t place) const {
    return static_cast<SubmissionEntry*>(memory.submissions(queue)) + place;
  }
  // Puts a request's message into slot 0.
  uint32_t Compose(uint32_t queue, uint16_t op, std::string_view body, uint16_t groups = 0) const {
    RequestHeader header{};
    header.id = 1;
    header.op = op;
    header.groups = groups;
    std::byte* slot = memory.message(queue, 0).data();
    std::memcpy(slot, &header, sizeof header);
    std::memcpy(slot + sizeof header, body.data(), body.size());
    return static_cast<uint32_t>(sizeof header + body.size());
  }
  // Submits one entry as the first of a queue, without looking at anything.
  void Submit(uint32_t queue, const SubmissionEntry& entry) const {
    *submission(queue, 0) = entry;
    Shared(memory.queue(queue)->submission.tail).store(1);
    Knock(queue);
  }
  // The error of the first reply of a queue, or -1 when none comes soon.
  int FirstReply(uint32_t queue) const {
    auto end = InSeconds(5);
    while (Shared(memory.queue(queue)->completion.tail).load() == 0)
      if (std::chrono::steady_clock::now() > end) return -1;
    ReplyHeader header;
    std::memcpy(&header, memory.message(queue, 0).data(), sizeof header);
    return header.error;
  }
  // Whether the server ends the channel soon.
  bool Ended() const {
    timeval wait{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(channel->socket.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    char byte;
    ssize_t got = ::recv(channel->socket.get(), &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
};

}  // namespace prism::vrpc
