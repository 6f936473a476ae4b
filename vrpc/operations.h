// The server's side of every operation: decode, run, encode. One row per operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "fs/contract/file_system.h"
#include "vrpc/messages.h"

namespace prism::vrpc {

// One request as its handler sees it. `body` is private memory; `payload` is the client's slot,
// which it may change at any time: a handler copies from it once, or hands it to a call of the
// contract that does.
struct ServeContext {
  fs::FileSystem& fs;
  fs::Caller caller;
  fs::RequestId request;         // the session's client, and its number for the request
  std::string_view body;         // the operation's fields
  std::span<std::byte> payload;  // the whole slot
  uint32_t payload_bytes = 0;    // of the request; at most the slot
  std::string& reply;            // the handler appends its result
  std::string& scratch;          // empty; kept between requests for its memory
  uint32_t reply_payload_bytes = 0;
};

struct OperationRow {
  Op op;
  const char* name;
  // Returns the reply's error. kProtocol: the request is malformed. On an error, what was appended
  // to the reply is discarded.
  Err (*serve)(ServeContext& context);
};

// nullptr: no such operation.
const OperationRow* FindOperation(uint16_t op);
// For logs: "lookup", or "unknown".
const char* NameOfOp(uint16_t op);

}  // namespace prism::vrpc
