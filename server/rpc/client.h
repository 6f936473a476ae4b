// Calls of procedures on other machines: one call on one connection, then it is closed. For what is
// rare and small: a portmapper, the callbacks of locks.
#pragma once

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "fs/base/error.h"
#include "server/rpc/program.h"

namespace prism::rpc {

struct RemoteProcedure {
  uint32_t program = 0;
  uint32_t version = 0;
  uint32_t procedure = 0;
};

using Deadline = std::chrono::steady_clock::time_point;
inline constexpr size_t kClientReplyMax = 64 << 10;  // bytes; more is kProtocol

// The results of the call, made as nobody (AUTH_NONE). Blocks until the deadline at most.
// kTimedOut; kDisconnected: nobody answers there, or has hung up; kNotSupported: no such program,
// version or procedure; kAccess: denied; kInvalid: it could not decode the arguments; kProtocol: an
// answer that is none.
// THREADS: any.
Result<std::vector<std::byte>> CallRemote(const PeerAddress& address,
                                          const RemoteProcedure& procedure,
                                          std::span<const std::byte> args, Deadline deadline);
// The same at a UNIX stream socket.
Result<std::vector<std::byte>> CallLocal(const std::string& path, const RemoteProcedure& procedure,
                                         std::span<const std::byte> args, Deadline deadline);

}  // namespace prism::rpc
