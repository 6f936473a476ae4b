// RPC over a bare socket: a client that can do everything wrong.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "server/rpc/message.h"
#include "server/rpc/record.h"
#include "server/rpc/socket.h"

namespace prism::rpc {

using Bytes = std::vector<std::byte>;

inline constexpr int kPatienceMs = 10'000;  // nothing that works takes this long

// Waits until it holds, or a time has passed that nothing needs.
bool Soon(const std::function<bool()>& holds);

struct CallSpec {
  uint32_t xid = 1;
  uint32_t program = 0;  // 0: the echo program
  uint32_t version = 3;
  uint32_t procedure = 0;
  uint32_t rpc_version = kRpcVersion;
  uint32_t flavor = 0;
  Bytes credentials = {};
  uint32_t verifier_flavor = 0;
  Bytes verifier = {};
  Bytes args = {};
};
// Without a record mark.
Bytes EncodeCall(const CallSpec& spec);
// One fragment, the last.
Bytes Marked(const Bytes& record);
Bytes Fragment(std::span<const std::byte> bytes, bool last);
Bytes AuthSys(uint32_t uid, uint32_t gid, const std::vector<uint32_t>& groups,
              std::string_view machine);
Bytes Words(const std::vector<uint32_t>& words);
Bytes Zeros(size_t size_bytes);
Bytes Joined(const std::vector<Bytes>& parts);

struct RawReply {
  uint32_t xid = 0;
  uint32_t stat = 0;                      // ReplyStat
  uint32_t detail = 0;                    // AcceptStat or RejectStat
  Bytes body;                             // what follows
  uint32_t word(size_t index = 0) const;  // of the body
  bool success() const { return stat == 0 && detail == 0; }
};

class RawClient {
 public:
  RawClient() = default;
  // receive_buffer_bytes: SO_RCVBUF, set before connecting; 0: the default.
  explicit RawClient(const PeerAddress& server, int receive_buffer_bytes = 0);

  bool connected() const { return static_cast<bool>(fd_); }
  int fd() const { return fd_.get(); }
  void Close() { fd_.Reset(); }
  // Binds to this address first; for clients that are told apart.
  static RawClient From(const std::string& source_ip, const PeerAddress& server);

  // False: the server has closed.
  bool Send(std::span<const std::byte> bytes);
  // As much as the socket takes at once.
  size_t SendSome(std::span<const std::byte> bytes);
  bool SendCall(const CallSpec& spec) { return Send(Marked(EncodeCall(spec))); }
  // The next reply; nothing: closed, or none within the time.
  std::optional<RawReply> Receive(int timeout_ms = kPatienceMs);
  std::optional<Bytes> ReceiveRecord(int timeout_ms = kPatienceMs);
  std::optional<RawReply> Call(const CallSpec& spec);
  // Whether the server closes within the time (it may send something before).
  bool ClosedWithin(int timeout_ms = kPatienceMs);

 private:
  bool Fill(std::byte* to, size_t size_bytes, std::chrono::steady_clock::time_point deadline);
  UniqueFd fd_;
};

}  // namespace prism::rpc
