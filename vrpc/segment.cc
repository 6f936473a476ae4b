#include "vrpc/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fs/base/check.h"
#include "vrpc/handshake.h"
#include "vrpc/ring.h"

namespace prism::vrpc {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

bool WithinBounds(const Geometry& g) {
  return g.queues >= 1 && g.queues <= kQueuesMax && std::has_single_bit(g.ring_entries) &&
         g.ring_entries <= kRingEntriesMax && g.slots >= 1 && g.slots <= kSlotsMax &&
         g.message_bytes >= kMessageBytesMin && g.message_bytes <= kMessageBytesMax &&
         g.message_bytes % kPageBytes == 0 && g.payload_bytes >= kPayloadBytesMin &&
         g.payload_bytes <= kPayloadBytesMax && g.payload_bytes % kPageBytes == 0 &&
         std::has_single_bit(g.events) && g.events <= kEventsMax;
}

// The one way to lay a geometry out; the header states it, and the client compares.
SegmentHeader HeaderFor(const Geometry& g) {
  SegmentHeader header{};
  header.magic = kSegmentMagic;
  header.version = kVersion;
  header.header_bytes = sizeof header;
  header.queues = g.queues;
  header.ring_entries = g.ring_entries;
  header.slots = g.slots;
  header.message_bytes = g.message_bytes;
  header.payload_bytes = g.payload_bytes;
  header.events = g.events;
  header.queues_offset = kPageBytes;
  header.events_offset = header.queues_offset + uint64_t{g.queues} * kPageBytes;
  uint64_t events_end =
      header.events_offset + sizeof(EventControl) + uint64_t{g.events} * sizeof(EventSlot);
  header.messages_offset = (events_end + kPageBytes - 1) / kPageBytes * kPageBytes;
  uint64_t slots = uint64_t{g.queues} * g.slots;
  header.payloads_offset = header.messages_offset + slots * g.message_bytes;
  header.segment_bytes = header.payloads_offset + slots * g.payload_bytes;
  return header;
}

Outcome<std::byte*> Map(int fd, uint64_t bytes) {
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) return ExplainErrno(errno, "cannot map the shared segment");
  // A segment must not reach a child: two processes would share one end of the rings.
  ::madvise(base, bytes, MADV_DONTFORK);
  return static_cast<std::byte*>(base);
}

}  // namespace

Segment::Segment(UniqueFd fd, std::byte* base, uint64_t bytes, const Geometry& geometry)
    : fd_(std::move(fd)), base_(base), bytes_(bytes), geometry_(geometry) {
  SegmentHeader header = HeaderFor(geometry);
  events_offset_ = header.events_offset;
  messages_offset_ = header.messages_offset;
  payloads_offset_ = header.payloads_offset;
}

Segment::Segment(Segment&& other) noexcept
    : fd_(std::move(other.fd_)),
      base_(std::exchange(other.base_, nullptr)),
      bytes_(other.bytes_),
      geometry_(other.geometry_),
      events_offset_(other.events_offset_),
      messages_offset_(other.messages_offset_),
      payloads_offset_(other.payloads_offset_) {}

Segment& Segment::operator=(Segment&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  std::swap(geometry_, other.geometry_);
  std::swap(events_offset_, other.events_offset_);
  std::swap(messages_offset_, other.messages_offset_);
  std::swap(payloads_offset_, other.payloads_offset_);
  return *this;
}

Segment::~Segment() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

Outcome<Segment> Segment::Create(const Geometry& geometry) {
  PRISM_CHECK(WithinBounds(geometry));
  SegmentHeader header = HeaderFor(geometry);
  UniqueFd fd(::memfd_create("prism-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return ExplainErrno(errno, "cannot make a shared segment (memfd_create)");
  if (::ftruncate(fd.get(), static_cast<off_t>(header.segment_bytes)) != 0)
    return ExplainErrno(errno, "cannot size the shared segment");
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0)
    return ExplainErrno(errno, "cannot seal the shared segment");
  PRISM_ASSIGN(std::byte * base, Map(fd.get(), header.segment_bytes));
  std::memcpy(base, &header, sizeof header);
  return Segment(std::move(fd), base, header.segment_bytes, geometry);
}

Outcome<Segment> Segment::Open(UniqueFd fd, uint64_t segment_bytes) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return ExplainErrno(errno, "cannot examine the segment");
  int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return Explain(Err::kProtocol, "the server's segment is not a sealed memfd");
  if (static_cast<uint64_t>(status.st_size) != segment_bytes || segment_bytes < kPageBytes)
    return Explain(Err::kProtocol, "the server's segment is {} bytes, announced were {}",
                   status.st_size, segment_bytes);
  PRISM_ASSIGN(std::byte * base, Map(fd.get(), segment_bytes));
  Segment segment(std::move(fd), base, segment_bytes, Geometry{});
  SegmentHeader header;
  FetchOnce(&header, base, sizeof header);
  if (header.magic != kSegmentMagic || header.version != kVersion)
    return Explain(Err::kProtocol, "the server's segment has version {}, this client speaks {}",
                   header.version, kVersion);
  Geometry g{.queues = header.queues,
             .ring_entries = header.ring_entries,
             .slots = header.slots,
             .message_bytes = header.message_bytes,
             .payload_bytes = header.payload_bytes,
             .events = header.events};
  if (!WithinBounds(g)) return Explain(Err::kProtocol, "the server's segment has absurd sizes");
  SegmentHeader expected = HeaderFor(g);
  if (std::memcmp(&expected, &header, sizeof header) != 0 || header.segment_bytes != segment_bytes)
    return Explain(Err::kProtocol, "the server's segment is laid out in another way");
  UniqueFd taken = std::move(segment.fd_);
  return Segment(std::move(taken), std::exchange(segment.base_, nullptr), segment_bytes, g);
}

QueueControl* Segment::queue(uint32_t index) const {
  return reinterpret_cast<QueueControl*>(base_ + kPageBytes + uint64_t{index} * kPageBytes);
}
void* Segment::submissions(uint32_t index) const {
  return reinterpret_cast<std::byte*>(queue(index)) + kSubmissionOffset;
}
void* Segment::completions(uint32_t index) const {
  return reinterpret_cast<std::byte*>(queue(index)) + kCompletionOffset;
}
EventControl* Segment::event_control() const {
  return reinterpret_cast<EventControl*>(base_ + events_offset_);
}
void* Segment::event_slots() const { return base_ + events_offset_ + sizeof(EventControl); }

std::span<std::byte> Segment::message(uint32_t queue, uint32_t slot) const {
  uint64_t index = uint64_t{queue} * geometry_.slots + slot;
  return {base_ + messages_offset_ + index * geometry_.message_bytes, geometry_.message_bytes};
}
std::span<std::byte> Segment::payload(uint32_t queue, uint32_t slot) const {
  uint64_t index = uint64_t{queue} * geometry_.slots + slot;
  return {base_ + payloads_offset_ + index * geometry_.payload_bytes, geometry_.payload_bytes};
}

}  // namespace prism::vrpc
