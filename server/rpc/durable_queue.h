// Replies that wait for the store to be durable.
//
// Whoever adds one while nobody leads, leads: it waits for the highest mark there is, hands out the
// replies that this covers, and goes on while there are more. The others go back to serving calls,
// so a crowd shares one wait, and a lone client's call is finished by the thread that ran it.
//
// THREADS: any.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

#include "fs/base/error.h"
#include "server/rpc/counters.h"
#include "server/rpc/job.h"

namespace prism::rpc {

class DurableQueue {
 public:
  using Wait = std::function<Status(uint64_t mark)>;
  // Takes the replies of one wait, and how it went.
  using Deliver = std::function<void(std::vector<PendingReply>& replies, Status status)>;

  DurableQueue(Wait wait, Deliver deliver, Counters& counters)
      : wait_(std::move(wait)), deliver_(std::move(deliver)), counters_(counters) {}

  // True: the caller has to call Lead, soon, and without anything that others wait for.
  bool Add(PendingReply reply);
  void Lead();

 private:
  const Wait wait_;
  const Deliver deliver_;
  Counters& counters_;
  std::mutex mutex_;
  bool leading_ = false;               // guarded by mutex_
  std::vector<PendingReply> waiting_;  // guarded by mutex_
};

}  // namespace prism::rpc
