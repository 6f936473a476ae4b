// A call on its way through the server.
#pragma once

#include <cstdint>
#include <memory>

#include "server/rpc/connection.h"
#include "server/rpc/pace.h"
#include "server/rpc/program.h"

namespace prism::rpc {

// What is left of a call when its record has gone.
struct Job {
  std::shared_ptr<Connection> connection;
  Program* program = nullptr;
  uint32_t procedure = 0;
  Pace* pace = nullptr;
  bool replay_guarded = false;
  CallId id;
};

struct PendingReply {
  Job job;
  OutMessage message;
  uint64_t mark = 0;
};

}  // namespace prism::rpc
