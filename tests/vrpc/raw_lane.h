// A client that has a lane's memory in its bare hands, and none of the library's manners.
#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "fs/base/check.h"
#include "vrpc/doorbell.h"
#include "vrpc/handshake.h"
#include "vrpc/messages.h"
#include "vrpc/ring.h"
#include "vrpc/segment.h"
#include "vrpc/spin.h"

namespace prism::vrpc {

inline Hello HelloFor(std::string_view volume) {
  Hello hello{};
  hello.magic = kHelloMagic;
  hello.version_min = kVersion;
  hello.version_max = kVersion;
  hello.volume_bytes = static_cast<uint32_t>(volume.size());
  std::memcpy(hello.volume, volume.data(), volume.size());
  return hello;
}

inline Deadline InSeconds(int seconds) {
  return std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
}

struct RawLane {
  UniqueFd socket;
  Segment segment;
  LaneFds fds;

  static RawLane Open(const std::string& path) {
    auto socket = ConnectTo(path, InSeconds(5));
    PRISM_CHECK(socket);
    auto welcome = Greet(socket->get(), HelloFor("v"), InSeconds(5));
    PRISM_CHECK(welcome);
    auto segment = Segment::Open(std::move(welcome->segment), welcome->segment_bytes);
    PRISM_CHECK(segment);
    return {std::move(*socket), std::move(*segment), std::move(welcome->fds)};
  }

  SubmissionEntry* submission(uint32_t queue, uint32_t place) const {
    return static_cast<SubmissionEntry*>(segment.submissions(queue)) + place;
  }
  void Knock(uint32_t queue) const { Ring(fds.doorbells[queue].get()); }

  // Puts a request's message into slot 0.
  uint32_t Compose(uint32_t queue, uint16_t op, std::string_view body, uint16_t groups = 0) const {
    RequestHeader header{};
    header.id = 1;
    header.op = op;
    header.groups = groups;
    std::byte* slot = segment.message(queue, 0).data();
    std::memcpy(slot, &header, sizeof header);
    std::memcpy(slot + sizeof header, body.data(), body.size());
    return static_cast<uint32_t>(sizeof header + body.size());
  }
  // Submits one entry as the first of a queue, without looking at anything.
  void Submit(uint32_t queue, const SubmissionEntry& entry) const {
    *submission(queue, 0) = entry;
    Shared(segment.queue(queue)->submission.tail).store(1);
    Knock(queue);
  }
  // The error of the first reply of a queue, or -1 when none comes soon.
  int FirstReply(uint32_t queue) const {
    auto end = InSeconds(5);
    while (Shared(segment.queue(queue)->completion.tail).load() == 0)
      if (std::chrono::steady_clock::now() > end) return -1;
    ReplyHeader header;
    std::memcpy(&header, segment.message(queue, 0).data(), sizeof header);
    return header.error;
  }
  // Whether the server ends the lane soon.
  bool Dropped() const {
    timeval wait{.tv_sec = 5, .tv_usec = 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    char byte;
    ssize_t got = ::recv(socket.get(), &byte, 1, 0);
    return got == 0 || (got < 0 && errno == ECONNRESET);
  }
};

}  // namespace prism::vrpc
