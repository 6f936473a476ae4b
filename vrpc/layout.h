// The shared segment of one lane, byte by byte. PROTOCOL.md explains it; this file is what both
// ends compile.
//
//   0            SegmentHeader, one page; written once by the server before anybody else sees it
//   4096         queues: one page each: QueueControl, submission entries, completion entries
//   events_off   EventControl, event slots
//   messages_off message slots, queue by queue
//   payloads_off payload slots, queue by queue
//
// Every place is an offset from the start; there are no pointers. Words that one side writes and
// the other reads have cache lines of their own, two lines apart because processors fetch lines in
// pairs. Numbers are little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fs/contract/limits.h"

namespace prism::vrpc {

inline constexpr uint64_t kSegmentMagic = 0x31544d4745535650;  // "PVSEGMT1"
inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kLineBytes = 128;

inline constexpr uint32_t kQueuesMax = 64;
inline constexpr uint32_t kRingEntriesMax = 64;
inline constexpr uint32_t kSlotsMax = 64;
inline constexpr uint32_t kMessageBytesMin = 16384;  // holds every request's and reply's fixed part
inline constexpr uint32_t kMessageBytesMax = 65536;
inline constexpr uint32_t kPayloadBytesMin = fs::kIoMax;
inline constexpr uint32_t kPayloadBytesMax = 16u << 20;
inline constexpr uint32_t kEventsMax = 65536;

struct SegmentHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t header_bytes;  // sizeof(SegmentHeader)
  uint64_t segment_bytes;
  uint32_t queues;
  uint32_t ring_entries;   // of each ring; a power of two
  uint32_t slots;          // message and payload slots of each queue
  uint32_t message_bytes;  // of one message slot; a multiple of a page
  uint32_t payload_bytes;  // of one payload slot; a multiple of a page
  uint32_t events;         // slots of the event ring; a power of two
  uint64_t queues_offset;  // queue i is at queues_offset + i * kPageBytes
  uint64_t events_offset;
  uint64_t messages_offset;  // slot s of queue i: + (i * slots + s) * message_bytes
  uint64_t payloads_offset;  // slot s of queue i: + (i * slots + s) * payload_bytes
};
static_assert(sizeof(SegmentHeader) == 80);
static_assert(offsetof(SegmentHeader, segment_bytes) == 16);
static_assert(offsetof(SegmentHeader, payloads_offset) == 72);

// One 32-bit word alone on its lines.
struct alignas(kLineBytes) Word {
  uint32_t value;
};
static_assert(sizeof(Word) == kLineBytes);

// A ring's control words. Indices run freely through all 32-bit values; entry number i is in place
// i mod ring_entries.
struct RingControl {
  Word tail;    // written by the producer: entries made available so far
  Word head;    // written by the consumer: entries taken so far
  Word sleeps;  // written by the consumer: 1 while it wants its eventfd rung for new entries
};
static_assert(sizeof(RingControl) == 3 * kLineBytes);

struct QueueControl {
  RingControl submission;  // produced by the client
  RingControl completion;  // produced by the server
};
static_assert(sizeof(QueueControl) == 6 * kLineBytes);

// Entries are two 64-bit words, so that each half is read by one load.
struct SubmissionEntry {
  uint32_t slot;           // whose message and payload make up the request
  uint32_t message_bytes;  // of the request, in the message slot
  uint32_t payload_bytes;  // of the request, in the payload slot
  uint32_t gap_ns;  // a hint: what passed since this queue's previous reply, at most 2^32-1; the
                    // server decides by it how long to poll
};
static_assert(sizeof(SubmissionEntry) == 16);

struct CompletionEntry {
  uint32_t slot;
  uint32_t message_bytes;  // of the reply
  uint32_t payload_bytes;  // of the reply
  uint32_t service_ns;     // a hint: how long the server worked on it
};
static_assert(sizeof(CompletionEntry) == 16);

inline constexpr size_t kSubmissionOffset = sizeof(QueueControl);
inline constexpr size_t kCompletionOffset =
    kSubmissionOffset + kRingEntriesMax * sizeof(SubmissionEntry);
static_assert(kCompletionOffset + kRingEntriesMax * sizeof(CompletionEntry) <= kPageBytes);

struct EventControl {
  RingControl ring;  // produced by the server
  Word lost;         // written by the server: grows when an event found no room
};
static_assert(sizeof(EventControl) == 4 * kLineBytes);

struct EventSlot {
  uint64_t ino;
  uint8_t kind;  // fs::Event::Kind
  uint8_t reserved;
  uint16_t name_bytes;  // at most kNameMax
  uint32_t reserved2;
  char name[256];  // kLockGranted: the cookie, 8 bytes, with name_bytes 0
};
static_assert(sizeof(EventSlot) == 272);
static_assert(fs::kNameMax < sizeof(EventSlot::name));

// A message slot holds a request, then its reply.
struct RequestHeader {
  uint64_t id;  // the client's; comes back with the reply
  uint16_t op;
  uint16_t groups;  // that many u32 follow, then the operation's fields
  uint8_t check_permission;
  uint8_t reserved[3];
  uint32_t uid;
  uint32_t gid;
};
static_assert(sizeof(RequestHeader) == 24);

struct ReplyHeader {
  uint64_t id;
  uint8_t error;  // an Err; with kOk the operation's result follows
  uint8_t reserved[7];
};
static_assert(sizeof(ReplyHeader) == 16);

}  // namespace prism::vrpc
