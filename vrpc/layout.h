// The shared segment of a channel, byte by byte. PROTOCOL.md explains it; this file is what both
// ends compile.
//
//   0             SegmentHeader, one page; written by the server before anybody else sees it
//   lanes_offset  the lanes, lane_bytes each, all alike
//
// and in each lane, from its start:
//
//   0             LaneControl, one page: the handshake
//   queues_offset queues, one page each: QueueControl, submission entries, completion entries
//   events_offset EventControl, event slots
//   messages_off. message slots, queue by queue
//   payloads_off. payload slots, queue by queue
//
// Every place is an offset from the start; there are no pointers. Words that one side writes and
// the other reads have cache lines of their own, two lines apart because processors fetch lines in
// pairs. Numbers are little-endian.
//
// VECTORS: doorbells, the same number V = lanes * (queues + 1) in each direction. Of lane l, vector
// l * (queues + 1) + k: towards the server k = 0 rings for a Hello, k = 1 + q for submissions of
// queue q; towards the client k = 0 for an answer, events, or the session's end, k = 1 + q for
// completions of queue q.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fs/contract/limits.h"

namespace prism::vrpc {

inline constexpr uint64_t kSegmentMagic = 0x32544d4745535650;  // "PVSEGMT2"
inline constexpr uint32_t kVersion = 2;                        // of everything in PROTOCOL.md
inline constexpr size_t kPageBytes = 4096;
inline constexpr size_t kLineBytes = 128;

inline constexpr uint32_t kLanesMax = 64;
inline constexpr uint32_t kQueuesMax = 64;
inline constexpr uint32_t kVectorsMax = 256;  // QEMU rings by the low 8 bits of a vector's number
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
  uint32_t header_bytes;   // sizeof(SegmentHeader)
  uint64_t segment_bytes;  // a power of two, as a PCI device's memory must be
  uint32_t lanes;
  uint32_t queues;         // of each lane
  uint32_t ring_entries;   // of each ring; a power of two
  uint32_t slots;          // message and payload slots of each queue
  uint32_t message_bytes;  // of one message slot; a multiple of a page
  uint32_t payload_bytes;  // of one payload slot; a multiple of a page
  uint32_t events;         // slots of the event ring; a power of two
  uint32_t reserved;       // 0
  uint64_t lanes_offset;   // lane l is at lanes_offset + l * lane_bytes
  uint64_t lane_bytes;     // a multiple of a page
  // From a lane's start:
  uint64_t queues_offset;  // queue i is at queues_offset + i * kPageBytes
  uint64_t events_offset;
  uint64_t messages_offset;  // slot s of queue i: + (i * slots + s) * message_bytes
  uint64_t payloads_offset;  // slot s of queue i: + (i * slots + s) * payload_bytes
};
static_assert(sizeof(SegmentHeader) == 104);
static_assert(offsetof(SegmentHeader, lanes) == 24);
static_assert(offsetof(SegmentHeader, lanes_offset) == 56);
static_assert(offsetof(SegmentHeader, payloads_offset) == 96);

// One 32-bit word alone on its lines.
struct alignas(kLineBytes) Word {
  uint32_t value;
};
static_assert(sizeof(Word) == kLineBytes);

inline constexpr uint64_t kHelloMagic = 0x324f4c4c45485650;   // "PVHELLO2"
inline constexpr uint64_t kAnswerMagic = 0x32525753414e5650;  // "PVNASWR2"
inline constexpr size_t kVolumeNameMax = 128;                 // bytes
inline constexpr size_t kAnswerMessageMax = 448;              // bytes

// Flags of a Hello.
inline constexpr uint32_t kHelloImporting = 1;   // attach to fill an import
inline constexpr uint32_t kHelloResume = 2;      // this client had a session that was lost
inline constexpr uint32_t kHelloBye = 4;         // end the session and begin none
inline constexpr uint32_t kHelloBarriers = 8;    // this client answers barriers
inline constexpr uint32_t kHelloSnapshots = 16;  // the root has a directory .snapshot

struct Hello {
  uint64_t magic;
  uint32_t version_min;
  uint32_t version_max;
  uint32_t flags;
  uint32_t queues;  // how many the client wants; 0: as many as the lane has
  uint64_t client;  // random, never 0; the same in every Hello of one mount
  uint64_t epoch;   // of the lane, as the client has read it
  uint32_t volume_bytes;
  uint32_t reserved;  // 0
  char volume[kVolumeNameMax];
};
static_assert(sizeof(Hello) == 176);

struct Answer {
  uint64_t magic;
  uint32_t version;  // the one both will use
  uint32_t error;    // an Err; kOk: the session has begun
  uint64_t epoch;    // of the lane, while this session lasts
  uint64_t session;  // a number, for people; 0 with an error
  // Changes when, and only when, a server may have lost what it had acknowledged as not yet stable.
  uint64_t durability_epoch;
  uint32_t queues;  // those that are served: 0 to queues - 1
  uint32_t message_bytes;
  char message[kAnswerMessageMax];
};
static_assert(sizeof(Answer) == 496);

// The first page of a lane.
struct LaneControl {
  Word hello_seq;                      // written by the client: another value says a Hello is there
  Word answer_seq;                     // written by the server: the hello_seq that it has answered
  alignas(kLineBytes) uint64_t epoch;  // written by the server: random, never 0. Another value: the
                                       // session is over
  alignas(512) Hello hello;            // written by the client
  alignas(512) Answer answer;          // written by the server
};
static_assert(offsetof(LaneControl, answer_seq) == 128);
static_assert(offsetof(LaneControl, epoch) == 256);
static_assert(offsetof(LaneControl, hello) == 512);
static_assert(offsetof(LaneControl, answer) == 1024);
static_assert(sizeof(LaneControl) <= kPageBytes);

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
  uint8_t reserved[3];  // 0
  uint32_t uid;
  uint32_t gid;
  uint32_t number;     // 0, or the client's for this request: it is noted as done under it
  uint32_t reserved2;  // 0
};
static_assert(sizeof(RequestHeader) == 32);

struct ReplyHeader {
  uint64_t id;
  uint8_t error;  // an Err; with kOk the operation's result follows
  uint8_t reserved[7];
};
static_assert(sizeof(ReplyHeader) == 16);

}  // namespace prism::vrpc
