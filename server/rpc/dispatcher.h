// From a record to its reply: decoding, refusing, replaying, running, waiting for durability.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "server/rpc/blocking_gate.h"
#include "server/rpc/counters.h"
#include "server/rpc/durable_queue.h"
#include "server/rpc/job.h"
#include "server/rpc/message.h"
#include "server/rpc/pace.h"
#include "server/rpc/reply_cache.h"
#include "server/rpc/seats.h"
#include "server/rpc/server.h"

namespace prism::rpc {

// THREADS: any; one at a time for a connection's reading role.
class Dispatcher {
 public:
  Dispatcher(const RpcOptions& options, Counters& counters, Seats& seats);

  enum class Served : uint8_t {
    kDone,      // the record has been dealt with; the caller still has the reading role
    kReleased,  // the reading role has been given to others
    kBroken,    // not RPC: the connection should go
  };
  // Deals with the complete record in connection->input(). Its reply may be queued there and not
  // yet flushed, if kDone. The seat may have been left.
  Served Serve(Seat& seat, const std::shared_ptr<Connection>& connection);

  // What a connection that has been closed held. `granted`: see Connection::Closing.
  void Forget(const Connection& connection, bool granted);

  const ReplyCache& reply_cache() const { return reply_cache_; }

 private:
  struct Service {
    std::shared_ptr<Program> program;
    std::deque<Pace> paces;  // of its procedures
  };
  struct Target {
    Program* program = nullptr;
    const Procedure* procedure = nullptr;
    Pace* pace = nullptr;
  };
  bool Locate(const CallHeader& call, Target& target, ReplyHeader& error);
  Served Answer(Connection& connection, const ReplyHeader& header);
  Served ServeCall(Seat& seat, const std::shared_ptr<Connection>& connection,
                   const CallHeader& call, const Target& target, bool granted);
  Served RunReleased(Seat& seat, const Job& job, const CallHeader& call);
  void Lead(Seat& seat);
  // Whether the call has been answered, or will be, without being executed.
  bool Replayed(const Job& job, const ReplyCache::Found& found);
  void Refuse(const Job& job);
  // False: nothing is to be sent.
  bool EncodeRefusal(const Job& job, Err why, OutMessage& message);
  void Encode(const Job& job, AcceptStat stat, Reply& reply, OutMessage& message);
  // True: the caller must lead the durable queue.
  bool Run(Seat& seat, const Job& job, const Credentials& credentials,
           std::span<const std::byte> args);
  // The call is over. Returns the connection that its answer should go to.
  std::shared_ptr<Connection> End(const Job& job, ReplyCache::Bytes reply);
  void Deliver(const Job& job, OutMessage message, bool keep);
  void DeliverDurable(std::vector<PendingReply>& replies, Status status);

  std::deque<Service> services_;
  const bool has_durability_;
  Counters& counters_;
  Seats& seats_;
  ReplyCache reply_cache_;
  BlockingGate gate_;
  DurableQueue durable_;
};

}  // namespace prism::rpc
