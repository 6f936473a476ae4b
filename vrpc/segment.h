// A channel's shared segment: making it, opening it, and where its parts are.
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
  uint32_t lanes = 1;
  uint32_t queues = 8;  // of each lane
  uint32_t ring_entries = 2;
  uint32_t slots = 2;
  uint32_t message_bytes = kMessageBytesMin;
  uint32_t payload_bytes = kPayloadBytesMin;
  uint32_t events = 1024;

  uint32_t vectors_per_lane() const { return queues + 1; }
  uint32_t vectors() const { return lanes * vectors_per_lane(); }
  uint32_t handshake_vector(uint32_t lane) const { return lane * vectors_per_lane(); }
  uint32_t queue_vector(uint32_t lane, uint32_t queue) const {
    return lane * vectors_per_lane() + 1 + queue;
  }
  // Within layout.h's bounds.
  bool Valid() const;
};

// The one way to lay a geometry out. REQUIRES: geometry.Valid().
SegmentHeader HeaderFor(const Geometry& geometry);

// The client's check of what a server says of its segment. Errors: kProtocol.
Outcome<Geometry> CheckHeader(std::span<const std::byte> memory);

// Where the parts of one lane are. A view: the memory must outlive it. Accessors trust their
// arguments: check them first.
class LaneMemory {
 public:
  LaneMemory() = default;
  LaneMemory(std::byte* segment, const Geometry& geometry, uint32_t lane);

  const Geometry& geometry() const { return geometry_; }
  LaneControl* control() const { return reinterpret_cast<LaneControl*>(base_); }
  QueueControl* queue(uint32_t index) const;
  void* submissions(uint32_t index) const;
  void* completions(uint32_t index) const;
  EventControl* event_control() const;
  void* event_slots() const;
  std::span<std::byte> message(uint32_t queue, uint32_t slot) const;
  std::span<std::byte> payload(uint32_t queue, uint32_t slot) const;

 private:
  std::byte* base_ = nullptr;
  Geometry geometry_;
  uint64_t events_offset_ = 0;
  uint64_t messages_offset_ = 0;
  uint64_t payloads_offset_ = 0;
};

// A memfd, sealed against shrinking, growing and further seals, and its mapping. Movable.
class Segment {
 public:
  // A new one, its header written. Its pages take memory when they are first touched. REQUIRES:
  // geometry.Valid().
  static Outcome<Segment> Create(const Geometry& geometry);
  // Maps one that somebody else made. It must be sealed, so that later accesses cannot fault; its
  // content is not looked at. Errors: kProtocol.
  static Outcome<Segment> Open(UniqueFd fd);

  Segment(Segment&& other) noexcept;
  Segment& operator=(Segment&& other) noexcept;
  ~Segment();

  int fd() const { return fd_.get(); }
  std::span<std::byte> memory() const { return {base_, bytes_}; }
  // Server only: writes the header, over whatever is there.
  void WriteHeader(const Geometry& geometry) const;

 private:
  Segment(UniqueFd fd, std::byte* base, size_t bytes);

  UniqueFd fd_;
  std::byte* base_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace prism::vrpc
