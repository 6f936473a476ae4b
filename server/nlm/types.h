// NLM version 4 (RFC 1813, appendix II) and NSM version 1 (X/Open XNFS, chapter 11): the numbers,
// and what travels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "fs/base/error.h"
#include "fs/contract/lock.h"
#include "server/rpc/xdr.h"

namespace prism::nlm {

inline constexpr uint32_t kNlmProgram = 100021;
inline constexpr uint32_t kNlmVersion = 4;
inline constexpr uint32_t kNsmProgram = 100024;
inline constexpr uint32_t kNsmVersion = 1;

inline constexpr size_t kStringMax = 1024;  // LM_MAXSTRLEN, and of a netobj
inline constexpr size_t kNameMax = 255;     // of a client's name: as a machine's name in RPC

enum NlmProcedure : uint32_t {
  NLMPROC4_TEST = 1,
  NLMPROC4_LOCK = 2,
  NLMPROC4_CANCEL = 3,
  NLMPROC4_UNLOCK = 4,
  NLMPROC4_GRANTED = 5,
  NLMPROC4_TEST_MSG = 6,
  NLMPROC4_LOCK_MSG = 7,
  NLMPROC4_CANCEL_MSG = 8,
  NLMPROC4_UNLOCK_MSG = 9,
  NLMPROC4_GRANTED_MSG = 10,
  NLMPROC4_TEST_RES = 11,
  NLMPROC4_LOCK_RES = 12,
  NLMPROC4_CANCEL_RES = 13,
  NLMPROC4_UNLOCK_RES = 14,
  NLMPROC4_GRANTED_RES = 15,
  NLMPROC4_SHARE = 20,
  NLMPROC4_UNSHARE = 21,
  NLMPROC4_NM_LOCK = 22,
  NLMPROC4_FREE_ALL = 23,
};
inline constexpr uint32_t kNlmProcedures = 24;

enum NsmProcedure : uint32_t {
  SM_STAT = 1,
  SM_MON = 2,
  SM_UNMON = 3,
  SM_UNMON_ALL = 4,
  SM_SIMU_CRASH = 5,
  SM_NOTIFY = 6,
};
inline constexpr uint32_t kNsmProcedures = 7;

enum Nlm4Status : uint32_t {
  NLM4_GRANTED = 0,
  NLM4_DENIED = 1,
  NLM4_DENIED_NOLOCKS = 2,
  NLM4_BLOCKED = 3,
  NLM4_DENIED_GRACE_PERIOD = 4,
  NLM4_DEADLCK = 5,
  NLM4_ROFS = 6,
  NLM4_STALE_FH = 7,
  NLM4_FBIG = 8,
  NLM4_FAILED = 9,
};
Nlm4Status StatusOf(Err err);

// Views point into the call's arguments.
struct Nlm4Lock {
  std::string_view caller_name;
  std::span<const std::byte> handle;
  std::span<const std::byte> oh;
  uint32_t svid = 0;
  uint64_t offset = 0;
  uint64_t length = 0;
};

// Of TEST, LOCK, CANCEL and UNLOCK; each has some of it.
struct LockCall {
  std::span<const std::byte> cookie;
  bool block = false;
  bool exclusive = false;
  Nlm4Lock lock;
  bool reclaim = false;
};
// False: that is not what the procedure takes.
bool Decode(rpc::XdrReader& in, uint32_t procedure, LockCall& call);

struct ShareCall {
  std::span<const std::byte> cookie;
  std::string_view caller_name;
  std::span<const std::byte> handle;
  std::span<const std::byte> oh;
  uint32_t mode = 0;    // what others may not: 1 read, 2 write
  uint32_t access = 0;  // what is wanted: the same bits
  bool reclaim = false;
};
bool Decode(rpc::XdrReader& in, ShareCall& call);

// As the contract's: a length of 0, or one beyond the end, is to the end. False: NLM4_FBIG.
bool RangeOf(const Nlm4Lock& lock, fs::LockArgs& args);

struct Holder {
  bool exclusive = false;
  uint32_t svid = 0;
  std::string oh;
  uint64_t offset = 0;
  uint64_t length = 0;
};
void PutHolder(rpc::XdrWriter& out, const Holder& holder);

// The arguments of GRANTED.
struct GrantedCall {
  std::string cookie;
  bool exclusive = false;
  std::string caller_name;
  std::string handle;
  std::string oh;
  uint32_t svid = 0;
  uint64_t offset = 0;  // as the client said them
  uint64_t length = 0;
};
void PutGranted(rpc::XdrWriter& out, const GrantedCall& call);

std::string StringOf(std::span<const std::byte> bytes);

}  // namespace prism::nlm
