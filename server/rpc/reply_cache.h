// The duplicate request cache: a call that must not be executed twice is recognized when it comes
// again, on whatever connection, and gets the answer that it got, or is about to get.
//
// Bounded by entries and bytes, per client and overall; what a client was answered first goes
// first, and the client that has the most loses when all together have too much, so that a client
// cannot make the server forget another's. Calls that are being executed are never forgotten; other
// bounds limit them. There is no bound in time: over TCP a client may come back with the same call
// after any outage.
//
// THREADS: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "server/rpc/program.h"

namespace prism::rpc {

class Connection;

struct ReplyCacheLimits {
  size_t entries_max = 64 << 10;
  size_t bytes_max = 64 << 20;
  // Of one client. Linux has up to 64 Ki slots for a connection, but grows them from 2 by what the
  // server answers; what is in doubt after a lost connection are those under way at that time.
  size_t client_entries_max = 4 << 10;
  size_t client_bytes_max = 8 << 20;
};

class ReplyCache {
 public:
  using Bytes = std::shared_ptr<const std::vector<std::byte>>;
  enum class State : uint8_t { kNew, kRunning, kDone };
  struct Found {
    State state = State::kNew;
    Bytes reply;  // kDone: the whole message as it was sent, record mark included
  };

  explicit ReplyCache(const ReplyCacheLimits& limits);

  // What is known of the call. kNew: it is being executed from now on, by the caller, which ends
  // that by Finish. kRunning: the answer will go to `connection`, if it is still there then.
  Found Begin(const CallId& id, const std::shared_ptr<Connection>& connection);
  // The same for a call that is not going to be executed now: kNew changes nothing.
  Found Look(const CallId& id, const std::shared_ptr<Connection>& connection);
  // The answer; nullptr: it is not to be kept. Returns the newest connection that has asked again,
  // if there is one.
  std::shared_ptr<Connection> Finish(const CallId& id, Bytes reply);

  size_t entries() const;
  size_t bytes() const;

 private:
  struct HashId {
    uint64_t seed;
    size_t operator()(const CallId& id) const;
  };
  struct Entry {
    Bytes reply;                       // nullptr: being executed
    std::weak_ptr<Connection> newest;  // of those that asked again
  };
  struct ClientReplies {
    std::deque<CallId> answered;  // oldest first
    size_t bytes = 0;
  };
  using Clients = std::unordered_map<uint64_t, ClientReplies>;
  static size_t SizeOf(const Bytes& reply) { return reply->size() + kEntryBytes; }
  static constexpr size_t kEntryBytes = 256;  // what an entry takes besides its reply, about

  static Found Known(Entry& entry, const std::shared_ptr<Connection>& connection);
  void ForgetOldestLocked(Clients::iterator client);
  void MakeRoomLocked(Clients::iterator client);

  const ReplyCacheLimits limits_;
  mutable std::mutex mutex_;
  std::unordered_map<CallId, Entry, HashId> entries_;
  Clients clients_;  // those that have answers here
  size_t answered_ = 0;
  size_t bytes_ = 0;
};

}  // namespace prism::rpc
