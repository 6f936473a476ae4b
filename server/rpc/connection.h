// One TCP connection: who may read it, what waits to be sent on it.
//
// The socket is in the server's epoll set, one-shot. Reading is a role that one worker at a time
// has, from a readiness event to Release. Sending is another one: whoever adds a reply while nobody
// sends, sends, also what others add meanwhile. A socket that takes no more is watched for that
// alone: a client that does not read its replies is not read from either, so what it can make us
// keep is bounded by the calls that have begun.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "server/rpc/counters.h"
#include "server/rpc/memory.h"
#include "server/rpc/message.h"
#include "server/rpc/record.h"
#include "server/rpc/socket.h"

namespace prism::rpc {

// A reply on its way: header, results, payload and its padding; or one that is kept by the reply
// cache.
struct OutMessage {
  ReplyHeader header;
  std::vector<std::byte> results;
  std::vector<KeptBytes> payload;
  std::shared_ptr<const std::vector<std::byte>> kept;
  Charge charge;

  size_t payload_bytes() const { return SizeOf(payload); }
  size_t size_bytes() const {
    return kept != nullptr ? kept->size()
                           : header.bytes().size() + results.size() + XdrPadded(payload_bytes());
  }
};

// How long a client may take, in ns.
struct Patience {
  uint64_t idle_ns = 0;
  uint64_t record_ns = 0;  // for each kProgressBytes of a record that has begun
  uint64_t send_ns = 0;    // for each kProgressBytes that it should take
  static constexpr uint64_t kProgressBytes = 64 << 10;
};

class Connection {
 public:
  // Counts itself in the client. Not yet in the epoll set.
  Connection(uint64_t id, UniqueFd fd, const PeerAddress& peer, std::shared_ptr<Client> client,
             int epoll_fd, size_t record_max_bytes, const Patience& patience, Counter& bytes_out);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  uint64_t id() const { return id_; }
  int fd() const { return fd_.get(); }
  const PeerAddress& peer() const { return peer_; }
  const std::shared_ptr<Client>& client() const { return client_; }

  // Into the epoll set, with id() as its token.
  bool Watch();

  // What an event asks the worker to do; it then has the roles that go with it.
  struct Duty {
    bool read = false;   // until Release, Park or Close
    bool write = false;  // Resume
  };
  Duty Take(uint32_t events);

  // ---- With the reading role.
  RecordReader& input() { return input_; }
  // Gives the role back; again: records are there already, so come back without waiting for bytes,
  // behind all other connections that are ready.
  void Release(bool again);
  // Gives the role to nobody until Grant; Unpark takes it back instead.
  void Park();
  void Unpark();
  // Whether Grant has let this connection's next blocking call in; once.
  bool TakeGrant();

  // ---- Any thread.
  // Lets a parked connection go on, with a grant. False: it cannot use it.
  bool Grant();
  void Queue(OutMessage message);
  // Sends what is queued, unless another worker does. Several calls of Queue may share one.
  void Flush();
  // For the worker that Take has told to: the socket takes bytes again.
  void Resume();
  bool output_blocked() const { return out_blocked_.load(std::memory_order_relaxed); }

  struct Closing {
    bool first = false;    // nobody had closed it before
    bool granted = false;  // it held a grant that it will not use
  };
  // No more events, nothing more is read or sent; the socket goes with the last owner.
  Closing Close();
  bool closed() const { return closed_.load(std::memory_order_relaxed); }

  // Calls that have begun and are not answered.
  std::atomic<uint32_t>& calls() { return calls_; }
  // What the client has kept us waiting for, for too long. Called now and then.
  enum class Overdue : uint8_t { kNothing, kCalls, kRecord, kSend };
  Overdue Check(uint64_t now_ns);
  uint64_t last_read_ns() const { return last_read_ns_.load(std::memory_order_relaxed); }

 private:
  // The events that the socket is to be watched for now. REQUIRES: mutex_.
  uint32_t WantedLocked() const;
  // Has it watched for them; lets the lock go meanwhile.
  void Arm(std::unique_lock<std::mutex>& lock);
  void ExpectInput();
  void WriteLocked(std::unique_lock<std::mutex>& lock);
  void ConsumeLocked(size_t sent_bytes, std::vector<OutMessage>& done);

  const uint64_t id_;
  const UniqueFd fd_;
  const PeerAddress peer_;
  const std::shared_ptr<Client> client_;
  const int epoll_fd_;
  const Patience patience_;
  Counter& bytes_out_;

  // The reading role's.
  RecordReader input_;
  uint64_t expected_record_ = 0;  // the record in the middle of which ExpectInput was
  uint64_t expected_bytes_ = 0;   // what had come of it when its deadline was set
  uint64_t record_deadline_ns_ = 0;

  std::mutex mutex_;
  bool reading_ = false;                   // guarded by mutex_
  bool parked_ = false;                    // guarded by mutex_
  bool again_ = false;                     // guarded by mutex_
  bool writing_ = false;                   // guarded by mutex_
  bool arm_ = false;                       // guarded by mutex_: to be watched for WantedLocked()
  bool arming_ = false;                    // guarded by mutex_: a thread is in Arm's loop
  size_t out_sent_bytes_ = 0;              // guarded by mutex_: of the first
  std::deque<OutMessage> out_;             // guarded by mutex_; the writer alone removes
  std::atomic<bool> out_blocked_ = false;  // changed under mutex_
  std::atomic<bool> closed_ = false;       // changed under mutex_
  std::atomic<bool> granted_ = false;      // changed under mutex_
  uint64_t progress_bytes_ = 0;            // guarded by mutex_: sent since blocked_since_ns_

  std::atomic<uint32_t> calls_ = 0;
  std::atomic<uint64_t> last_read_ns_ = 0;
  // By CoarseNowNs; 0: the client owes nothing.
  std::atomic<uint64_t> calls_due_ns_ = 0;
  std::atomic<uint64_t> record_due_ns_ = 0;
  std::atomic<uint64_t> blocked_since_ns_ = 0;
};

// Coarse (4 ms), and cheap.
uint64_t CoarseNowNs();

}  // namespace prism::rpc
