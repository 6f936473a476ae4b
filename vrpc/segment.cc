#include "vrpc/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fs/base/check.h"
#include "vrpc/ring.h"

namespace prism::vrpc {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

uint64_t RoundUpToPage(uint64_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

}  // namespace

bool Geometry::Valid() const {
  return lanes >= 1 && lanes <= kLanesMax && queues >= 1 && queues <= kQueuesMax &&
         vectors() <= kVectorsMax && std::has_single_bit(ring_entries) &&
         ring_entries <= kRingEntriesMax && slots >= 1 && slots <= kSlotsMax &&
         message_bytes >= kMessageBytesMin && message_bytes <= kMessageBytesMax &&
         message_bytes % kPageBytes == 0 && payload_bytes >= kPayloadBytesMin &&
         payload_bytes <= kPayloadBytesMax && payload_bytes % kPageBytes == 0 &&
         std::has_single_bit(events) && events <= kEventsMax;
}

SegmentHeader HeaderFor(const Geometry& g) {
  PRISM_CHECK(g.Valid());
  SegmentHeader header{};
  header.magic = kSegmentMagic;
  header.version = kVersion;
  header.header_bytes = sizeof header;
  header.lanes = g.lanes;
  header.queues = g.queues;
  header.ring_entries = g.ring_entries;
  header.slots = g.slots;
  header.message_bytes = g.message_bytes;
  header.payload_bytes = g.payload_bytes;
  header.events = g.events;
  header.lanes_offset = kPageBytes;
  header.queues_offset = kPageBytes;
  header.events_offset = header.queues_offset + uint64_t{g.queues} * kPageBytes;
  header.messages_offset = RoundUpToPage(header.events_offset + sizeof(EventControl) +
                                         uint64_t{g.events} * sizeof(EventSlot));
  uint64_t slots = uint64_t{g.queues} * g.slots;
  header.payloads_offset = header.messages_offset + slots * g.message_bytes;
  header.lane_bytes = header.payloads_offset + slots * g.payload_bytes;
  header.segment_bytes = std::bit_ceil(header.lanes_offset + g.lanes * header.lane_bytes);
  return header;
}

Outcome<Geometry> CheckHeader(std::span<const std::byte> memory) {
  if (memory.size() < kPageBytes)
    return Explain(Err::kProtocol, "the server's segment has only {} bytes", memory.size());
  SegmentHeader header;
  FetchOnce(&header, memory.data(), sizeof header);
  if (header.magic != kSegmentMagic || header.version != kVersion)
    return Explain(Err::kProtocol, "the server's segment has version {}, this client speaks {}",
                   header.version, kVersion);
  Geometry g{.lanes = header.lanes,
             .queues = header.queues,
             .ring_entries = header.ring_entries,
             .slots = header.slots,
             .message_bytes = header.message_bytes,
             .payload_bytes = header.payload_bytes,
             .events = header.events};
  if (!g.Valid()) return Explain(Err::kProtocol, "the server's segment has absurd sizes");
  SegmentHeader expected = HeaderFor(g);
  if (std::memcmp(&expected, &header, sizeof header) != 0)
    return Explain(Err::kProtocol, "the server's segment is laid out in another way");
  if (header.segment_bytes != memory.size())
    return Explain(Err::kProtocol, "the server's segment has {} bytes, and claims {}",
                   memory.size(), header.segment_bytes);
  return g;
}

LaneMemory::LaneMemory(std::byte* segment, const Geometry& geometry, uint32_t lane)
    : geometry_(geometry) {
  PRISM_CHECK(lane < geometry.lanes);
  SegmentHeader header = HeaderFor(geometry);
  base_ = segment + header.lanes_offset + lane * header.lane_bytes;
  events_offset_ = header.events_offset;
  messages_offset_ = header.messages_offset;
  payloads_offset_ = header.payloads_offset;
}

QueueControl* LaneMemory::queue(uint32_t index) const {
  return reinterpret_cast<QueueControl*>(base_ + kPageBytes + uint64_t{index} * kPageBytes);
}
void* LaneMemory::submissions(uint32_t index) const {
  return reinterpret_cast<std::byte*>(queue(index)) + kSubmissionOffset;
}
void* LaneMemory::completions(uint32_t index) const {
  return reinterpret_cast<std::byte*>(queue(index)) + kCompletionOffset;
}
EventControl* LaneMemory::event_control() const {
  return reinterpret_cast<EventControl*>(base_ + events_offset_);
}
void* LaneMemory::event_slots() const { return base_ + events_offset_ + sizeof(EventControl); }

std::span<std::byte> LaneMemory::message(uint32_t queue, uint32_t slot) const {
  uint64_t index = uint64_t{queue} * geometry_.slots + slot;
  return {base_ + messages_offset_ + index * geometry_.message_bytes, geometry_.message_bytes};
}
std::span<std::byte> LaneMemory::payload(uint32_t queue, uint32_t slot) const {
  uint64_t index = uint64_t{queue} * geometry_.slots + slot;
  return {base_ + payloads_offset_ + index * geometry_.payload_bytes, geometry_.payload_bytes};
}

Segment::Segment(UniqueFd fd, std::byte* base, size_t bytes)
    : fd_(std::move(fd)), base_(base), bytes_(bytes) {}

Segment::Segment(Segment&& other) noexcept
    : fd_(std::move(other.fd_)),
      base_(std::exchange(other.base_, nullptr)),
      bytes_(std::exchange(other.bytes_, 0)) {}

Segment& Segment::operator=(Segment&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(base_, other.base_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

Segment::~Segment() {
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

Outcome<Segment> Segment::Create(const Geometry& geometry) {
  SegmentHeader header = HeaderFor(geometry);
  UniqueFd fd(::memfd_create("prism-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return ExplainErrno(errno, "cannot make a shared segment (memfd_create)");
  if (::ftruncate(fd.get(), static_cast<off_t>(header.segment_bytes)) != 0)
    return ExplainErrno(errno, "cannot size the shared segment");
  if (::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0)
    return ExplainErrno(errno, "cannot seal the shared segment");
  PRISM_ASSIGN(Segment segment, Open(std::move(fd)));
  segment.WriteHeader(geometry);
  return segment;
}

Outcome<Segment> Segment::Open(UniqueFd fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return ExplainErrno(errno, "cannot examine the segment");
  int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (seals < 0 || (seals & kSeals) != kSeals)
    return Explain(Err::kProtocol, "the segment is not a sealed memfd");
  if (status.st_size < static_cast<off_t>(kPageBytes))
    return Explain(Err::kProtocol, "the segment has only {} bytes", status.st_size);
  auto bytes = static_cast<size_t>(status.st_size);
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (base == MAP_FAILED) return ExplainErrno(errno, "cannot map the shared segment");
  // A segment must not reach a child: two processes would share one end of the rings.
  ::madvise(base, bytes, MADV_DONTFORK);
  return Segment(std::move(fd), static_cast<std::byte*>(base), bytes);
}

void Segment::WriteHeader(const Geometry& geometry) const {
  SegmentHeader header = HeaderFor(geometry);
  PRISM_CHECK(header.segment_bytes == bytes_);
  std::memcpy(base_, &header, sizeof header);
}

}  // namespace prism::vrpc
