#include "tests/rpc/raw_client.h"

#include <poll.h>

#include <cerrno>
#include <cstring>
#include <thread>

#include "server/rpc/record.h"
#include "server/rpc/xdr.h"
#include "tests/rpc/echo_program.h"

namespace prism::rpc {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

bool Soon(const std::function<bool()>& holds) {
  const auto deadline = steady_clock::now() + milliseconds(kPatienceMs);
  while (!holds()) {
    if (steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

Bytes EncodeCall(const CallSpec& spec) {
  Bytes bytes;
  XdrWriter out(bytes);
  out.U32(spec.xid);
  out.U32(static_cast<uint32_t>(MessageType::kCall));
  out.U32(spec.rpc_version);
  out.U32(spec.program == 0 ? kEchoProgram : spec.program);
  out.U32(spec.version);
  out.U32(spec.procedure);
  out.U32(spec.flavor);
  out.Opaque(spec.credentials);
  out.U32(spec.verifier_flavor);
  out.Opaque(spec.verifier);
  bytes.insert(bytes.end(), spec.args.begin(), spec.args.end());
  return bytes;
}

Bytes Fragment(std::span<const std::byte> bytes, bool last) {
  Bytes out = Words({static_cast<uint32_t>(bytes.size()) | (last ? kLastFragment : 0)});
  out.insert(out.end(), bytes.begin(), bytes.end());
  return out;
}

Bytes Marked(const Bytes& record) { return Fragment(record, true); }

Bytes AuthSys(uint32_t uid, uint32_t gid, const std::vector<uint32_t>& groups,
              std::string_view machine) {
  Bytes bytes;
  XdrWriter out(bytes);
  out.U32(4711);
  out.String(machine);
  out.U32(uid);
  out.U32(gid);
  out.U32(static_cast<uint32_t>(groups.size()));
  for (uint32_t group : groups) out.U32(group);
  return bytes;
}

Bytes Words(const std::vector<uint32_t>& words) {
  Bytes bytes;
  XdrWriter out(bytes);
  for (uint32_t word : words) out.U32(word);
  return bytes;
}

Bytes Zeros(size_t size_bytes) { return Bytes(size_bytes); }

Bytes Joined(const std::vector<Bytes>& parts) {
  Bytes all;
  for (const Bytes& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

uint32_t RawReply::word(size_t index) const {
  if (body.size() < 4 * (index + 1)) return 0xdeaddead;
  uint32_t value;
  std::memcpy(&value, body.data() + 4 * index, 4);
  return __builtin_bswap32(value);
}

RawClient::RawClient(const PeerAddress& server, int receive_buffer_bytes) {
  sockaddr_storage storage;
  const socklen_t length = ToSockaddr(server, storage);
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (receive_buffer_bytes > 0)
    (void)::setsockopt(fd.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer_bytes, sizeof(int));
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return;
  fd_ = std::move(fd);
  SetConnectionOptions(fd_.get());
}

RawClient RawClient::From(const std::string& source_ip, const PeerAddress& server) {
  RawClient client;
  sockaddr_storage storage;
  UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  socklen_t length = ToSockaddr(*ParseEndpoint(source_ip + ":0"), storage);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return client;
  length = ToSockaddr(server, storage);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0) return client;
  client.fd_ = std::move(fd);
  SetConnectionOptions(client.fd());
  return client;
}

bool RawClient::Send(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(sent));
  }
  return true;
}

size_t RawClient::SendSome(std::span<const std::byte> bytes) {
  const ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  return sent < 0 ? 0 : static_cast<size_t>(sent);
}

bool RawClient::Fill(std::byte* to, size_t size_bytes, steady_clock::time_point deadline) {
  while (size_bytes > 0) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()).count();
    pollfd waiting{.fd = fd(), .events = POLLIN, .revents = 0};
    if (left < 0 || ::poll(&waiting, 1, static_cast<int>(left)) < 1) return false;
    const ssize_t got = ::recv(fd(), to, size_bytes, 0);
    if (got <= 0) return false;
    to += got;
    size_bytes -= static_cast<size_t>(got);
  }
  return true;
}

std::optional<Bytes> RawClient::ReceiveRecord(int timeout_ms) {
  const auto deadline = steady_clock::now() + milliseconds(timeout_ms);
  Bytes mark(4);
  if (!Fill(mark.data(), 4, deadline)) return std::nullopt;
  const uint32_t value = XdrReader(mark).U32();
  if ((value & kLastFragment) == 0) return std::nullopt;  // the server sends one fragment
  Bytes record(value & ~kLastFragment);
  if (!Fill(record.data(), record.size(), deadline)) return std::nullopt;
  return record;
}

std::optional<RawReply> RawClient::Receive(int timeout_ms) {
  std::optional<Bytes> record = ReceiveRecord(timeout_ms);
  if (!record) return std::nullopt;
  XdrReader in(*record);
  RawReply reply;
  reply.xid = in.U32();
  if (in.U32() != static_cast<uint32_t>(MessageType::kReply)) return std::nullopt;
  reply.stat = in.U32();
  if (reply.stat == 0 && (in.U32() != 0 || in.U32() != 0)) return std::nullopt;  // the verifier
  reply.detail = in.U32();
  if (in.failed()) return std::nullopt;
  reply.body.assign(in.remaining().begin(), in.remaining().end());
  return reply;
}

std::optional<RawReply> RawClient::Call(const CallSpec& spec) {
  if (!SendCall(spec)) return std::nullopt;
  return Receive();
}

bool RawClient::ClosedWithin(int timeout_ms) {
  const auto deadline = steady_clock::now() + milliseconds(timeout_ms);
  for (;;) {
    const auto left =
        std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now()).count();
    pollfd waiting{.fd = fd(), .events = POLLIN, .revents = 0};
    if (left < 0 || ::poll(&waiting, 1, static_cast<int>(left)) < 1) return false;
    std::byte sink[4096];
    const ssize_t got = ::recv(fd(), sink, sizeof sink, 0);
    if (got == 0 || (got < 0 && errno == ECONNRESET)) return true;
    if (got < 0) return false;
  }
}

}  // namespace prism::rpc
