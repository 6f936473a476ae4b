// How a session begins and ends on a lane: by words in the lane's first page. PROTOCOL.md has the
// bytes and the order.
//
// The client writes a Hello, then another value into hello_seq, and rings; the server copies the
// Hello, ends what session there was, and writes an Answer, then that value into answer_seq. The
// epoch says by changing that the server has ended a session without being asked.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "fs/base/failure.h"
#include "vrpc/endpoint.h"
#include "vrpc/layout.h"
#include "vrpc/segment.h"

namespace prism::vrpc {

// Never 0, hard to guess.
uint64_t RandomNumber();

inline uint64_t LoadEpoch(const LaneMemory& lane) {
  return std::atomic_ref<uint64_t>(lane.control()->epoch).load(std::memory_order_acquire);
}

// The client's half.

// A Hello for `volume`; the rest is 0, but for magic and versions.
Hello HelloFor(std::string_view volume);
// Says it on this lane of an endpoint and waits for the answer; fills in hello.epoch, and says it
// again when the epoch changes meanwhile. Errors: kTimedOut, kDisconnected, kProtocol, and the
// server's refusal, in its words.
Outcome<Answer> SayHello(Endpoint& endpoint, const LaneMemory& lane, uint32_t vector, Hello& hello,
                         Deadline deadline);
// Ends the session, if there is one; waits for the answer until the deadline. Errors: as SayHello.
Outcome<void> SayBye(Endpoint& endpoint, const LaneMemory& lane, uint32_t vector,
                     Deadline deadline);

// Whether the lane has a session, as far as its memory tells: nobody has ended it.
bool HasSession(const LaneMemory& lane);

// The server's half.

// One copy of what the client has written; whatever it writes later is not seen.
Hello FetchHello(const LaneMemory& lane);
// What a hello says, apart from its epoch; the volume's name is only bounded, not judged.
Outcome<void> CheckHello(const Hello& hello);
// Empties the rings and clears the events' words. REQUIRES: no session, on the server's side.
void ResetRings(const LaneMemory& lane);
// Publishes an answer to the Hello of that number.
void PutAnswer(const LaneMemory& lane, uint32_t hello_seq, const Answer& answer);
void PutEpoch(const LaneMemory& lane, uint64_t epoch);
Answer Refusal(const Failure& failure, uint64_t epoch);  // of the lane, as in every answer

}  // namespace prism::vrpc
