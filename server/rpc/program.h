// What an RPC program (NFS, MOUNT, NLM, NSM) is to the RPC server: RFC 5531.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/error.h"
#include "fs/base/kept_bytes.h"
#include "server/rpc/xdr.h"

namespace prism::rpc {

// IPv6; an IPv4 client is ::ffff:a.b.c.d.
struct PeerAddress {
  std::array<uint8_t, 16> ip{};
  uint16_t port = 0;

  bool IsV4() const;
  bool IsLoopback() const;   // 127.0.0.0/8 and ::1
  std::string Text() const;  // "10.0.0.7", "fd00::7": without the port
  bool operator==(const PeerAddress&) const = default;
};

inline constexpr size_t kAuthGroupsMax = 16;    // RFC 5531, authsys_parms
inline constexpr size_t kMachineNameMax = 255;  // bytes
inline constexpr uint32_t kNobody = 65534;      // uid and gid of AUTH_NONE

// Of AUTH_SYS, as the client says it; nobody's with AUTH_NONE.
struct Credentials {
  bool auth_sys = false;
  uint32_t uid = kNobody;
  uint32_t gid = kNobody;
  std::array<uint32_t, kAuthGroupsMax> groups{};
  size_t group_count = 0;
  std::string_view machine_name;
};

// What makes a retransmission of a call recognizable, on another connection and after a restart of
// the server too: the client's address (not its port) hashed, its xid, and a checksum of the whole
// call, credentials included.
struct CallId {
  uint64_t client = 0;
  uint32_t xid = 0;
  uint32_t checksum = 0;
  bool operator==(const CallId&) const = default;
};

struct Call {  // valid until the handler returns
  CallId id;
  PeerAddress peer;
  Credentials credentials;
  std::span<const std::byte> args;  // a private copy: the peer cannot change it
};

// The results of a call that was accepted, or what else becomes of it.
class Reply {
 public:
  explicit Reply(std::vector<std::byte>& out) : out_(out) {}

  XdrWriter& out() { return out_; }
  // Ends the results with these bytes (their length has been written to out()), padded as opaque
  // data is; they go to the socket from where they are.
  void Attach(std::vector<KeptBytes> payload) { payload_ = std::move(payload); }
  // The arguments could not be decoded: GARBAGE_ARGS instead of results.
  void SetGarbageArgs() { garbage_args_ = true; }
  // Sends nothing at all: an answer would be wrong.
  void Drop() { dropped_ = true; }
  // Sent when the store is durable up to this mark (RpcOptions::wait_durable); should that fail,
  // what Program::Refuse(kIo) says is sent instead. The handler does not wait.
  void DurableAfter(uint64_t mark) { durable_mark_ = mark; }

  std::vector<KeptBytes>& payload() { return payload_; }
  bool garbage_args() const { return garbage_args_; }
  bool dropped() const { return dropped_; }
  uint64_t durable_mark() const { return durable_mark_; }  // 0: at once

 private:
  XdrWriter out_;
  std::vector<KeptBytes> payload_;
  bool garbage_args_ = false;
  bool dropped_ = false;
  uint64_t durable_mark_ = 0;
};

// One row for each procedure: nothing about it is decided anywhere else.
struct Procedure {
  std::string_view name;
  // Not to be executed twice: its reply is kept, and a retransmission gets the same.
  bool replay_guarded = false;
  // May wait for the medium: the server goes on reading the connection meanwhile.
  bool may_block = false;
};

// One version of one program.
// THREADS: Run and Refuse from several at a time.
class Program {
 public:
  virtual ~Program() = default;
  virtual uint32_t number() const = 0;
  virtual uint32_t version() const = 0;
  virtual std::string_view name() const = 0;
  // By procedure number; one with an empty name does not exist (PROC_UNAVAIL). 0 is NULL, which the
  // server answers by itself.
  virtual std::span<const Procedure> procedures() const = 0;
  virtual void Run(uint32_t procedure, const Call& call, Reply& reply) = 0;
  // Encodes that the call has not been executed because of load (kAgain: JUKEBOX), or has been but
  // could not be made durable (kIo). `reply` is empty.
  virtual void Refuse(uint32_t procedure, Err why, Reply& reply) = 0;
};

}  // namespace prism::rpc
