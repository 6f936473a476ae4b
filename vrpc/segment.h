// A lane's shared segment: making it, opening it, and where its parts are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fs/base/failure.h"
#include "fs/base/unique_fd.h"
#include "vrpc/layout.h"

namespace prism::vrpc {

// What a segment has, as each side keeps it privately: decided by the server, checked once by the
// client, and never read from the segment again.
struct Geometry {
  uint32_t queues = 8;
  uint32_t ring_entries = 2;
  uint32_t slots = 2;
  uint32_t message_bytes = kMessageBytesMin;
  uint32_t payload_bytes = kPayloadBytesMin;
  uint32_t events = 1024;
};

// A mapping of a segment. Movable. Accessors trust their arguments: check them first.
class Segment {
 public:
  // A new memfd, sealed against shrinking, growing and further seals, with its header written. Its
  // pages take memory when they are first touched. REQUIRES: geometry within layout.h's bounds.
  static Outcome<Segment> Create(const Geometry& geometry);
  // Maps a segment that a server sent. Nothing of it is believed before it is checked, and it must
  // be sealed, so that later accesses cannot fault.
  static Outcome<Segment> Open(UniqueFd fd, uint64_t segment_bytes);

  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  int fd() const { return fd_.get(); }
  uint64_t bytes() const { return bytes_; }
  const Geometry& geometry() const { return geometry_; }

  QueueControl* queue(uint32_t index) const;
  void* submissions(uint32_t index) const;
  void* completions(uint32_t index) const;
  EventControl* event_control() const;
  void* event_slots() const;
  std::span<std::byte> message(uint32_t queue, uint32_t slot) const;
  std::span<std::byte> payload(uint32_t queue, uint32_t slot) const;

 private:
  Segment(UniqueFd fd, std::byte* base, uint64_t bytes, const Geometry& geometry);

  UniqueFd fd_;
  std::byte* base_ = nullptr;
  uint64_t bytes_ = 0;
  Geometry geometry_;
  uint64_t events_offset_ = 0;
  uint64_t messages_offset_ = 0;
  uint64_t payloads_offset_ = 0;
};

}  // namespace prism::vrpc
