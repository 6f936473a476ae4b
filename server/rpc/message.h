// The messages of ONC RPC version 2: RFC 5531 sections 9 and 10, AUTH_SYS from its appendix A.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "server/rpc/program.h"
#include "server/rpc/xdr.h"

namespace prism::rpc {

inline constexpr uint32_t kRpcVersion = 2;

enum class MessageType : uint32_t { kCall = 0, kReply = 1 };
enum class ReplyStat : uint32_t { kAccepted = 0, kDenied = 1 };
enum class AcceptStat : uint32_t {
  kSuccess = 0,
  kProgramUnavailable = 1,
  kProgramMismatch = 2,
  kProcedureUnavailable = 3,
  kGarbageArgs = 4,
  kSystemError = 5,
};
enum class RejectStat : uint32_t { kRpcMismatch = 0, kAuthError = 1 };
enum class AuthStat : uint32_t {
  kOk = 0,
  kBadCredentials = 1,
  kRejectedCredentials = 2,
  kBadVerifier = 3,
};
enum class AuthFlavor : uint32_t { kNone = 0, kSys = 1 };
inline constexpr size_t kAuthBodyMax = 400;  // bytes

struct CallHeader {
  uint32_t xid = 0;
  uint32_t rpc_version = 0;
  uint32_t program = 0;
  uint32_t version = 0;
  uint32_t procedure = 0;
  AuthStat auth = AuthStat::kOk;
  Credentials credentials;          // points into the record
  std::span<const std::byte> args;  // the rest of the record
};

// False: not a call at all, or one that cannot be answered. With another RPC version than ours
// nothing behind it is decoded; an `auth` that is not kOk makes the call one to be denied.
bool DecodeCall(std::span<const std::byte> record, CallHeader& call);

// A call as AUTH_NONE, up to its arguments.
void EncodeCallHeader(uint32_t xid, uint32_t program, uint32_t version, uint32_t procedure,
                      XdrWriter& out);

// A record mark and what comes before the results; always one fragment.
class ReplyHeader {
 public:
  // kSuccess: results_bytes (padded) follow.
  static ReplyHeader Accepted(uint32_t xid, AcceptStat stat, size_t results_bytes);
  static ReplyHeader ProgramMismatch(uint32_t xid, uint32_t low, uint32_t high);
  static ReplyHeader RpcMismatch(uint32_t xid);
  static ReplyHeader AuthError(uint32_t xid, AuthStat stat);

  ReplyHeader() = default;
  std::span<const std::byte> bytes() const { return std::span(bytes_).first(size_bytes_); }

 private:
  explicit ReplyHeader(uint32_t xid) : size_bytes_(4) {
    Put(xid);
    Put(static_cast<uint32_t>(MessageType::kReply));
  }
  void Put(uint32_t value);
  ReplyHeader& Mark(size_t following_bytes);

  std::array<std::byte, 36> bytes_{};
  size_t size_bytes_ = 0;
};

}  // namespace prism::rpc
