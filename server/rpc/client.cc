#include "server/rpc/client.h"

#include <poll.h>
#include <sys/random.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "fs/base/check.h"
#include "server/rpc/message.h"
#include "server/rpc/record.h"
#include "server/rpc/socket.h"
#include "server/rpc/xdr.h"

namespace prism::rpc {
namespace {

using std::chrono::milliseconds;

Status WaitFor(int fd, short events, Deadline deadline) {
  for (;;) {
    const auto left =
        std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    if (left <= 0) return Fail(Err::kTimedOut);
    pollfd waiting{.fd = fd, .events = events, .revents = 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return Fail(Err::kIo);
  }
}

Result<UniqueFd> Connect(const sockaddr* address, socklen_t length, Deadline deadline) {
  UniqueFd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return Fail(ErrFromErrno(errno));
  if (::connect(fd.get(), address, length) == 0) return fd;
  if (errno != EINPROGRESS) return Fail(Err::kDisconnected);
  PRISM_TRY(WaitFor(fd.get(), POLLOUT, deadline));
  int error = 0;
  socklen_t size = sizeof error;
  if (::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
    return Fail(error == ETIMEDOUT ? Err::kTimedOut : Err::kDisconnected);
  return fd;
}

Status SendAll(int fd, std::span<const std::byte> bytes, Deadline deadline) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      bytes = bytes.subspan(static_cast<size_t>(sent));
    } else if (errno == EAGAIN) {
      PRISM_TRY(WaitFor(fd, POLLOUT, deadline));
    } else if (errno != EINTR) {
      return Fail(Err::kDisconnected);
    }
  }
  return {};
}

// Reads on until a record is complete.
Status ReceiveRecord(int fd, RecordReader& input, Deadline deadline) {
  for (;;) {
    switch (input.Poll()) {
      case RecordReader::State::kRecord:
        return {};
      case RecordReader::State::kBroken:
        return Fail(Err::kProtocol);
      case RecordReader::State::kNeedMore:
        break;
    }
    PRISM_TRY(WaitFor(fd, POLLIN, deadline));
    const std::span<std::byte> space = input.Space();
    const ssize_t got = ::recv(fd, space.data(), space.size(), MSG_DONTWAIT);
    if (got > 0)
      input.Filled(static_cast<size_t>(got));
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
      return Fail(Err::kDisconnected);
  }
}

Result<std::vector<std::byte>> DecodeReply(std::span<const std::byte> record, uint32_t xid) {
  XdrReader in(record);
  if (in.U32() != xid) return Fail(Err::kProtocol);
  if (in.U32() != static_cast<uint32_t>(MessageType::kReply)) return Fail(Err::kProtocol);
  const uint32_t stat = in.U32();
  if (!in.failed() && stat == static_cast<uint32_t>(ReplyStat::kDenied)) return Fail(Err::kAccess);
  if (stat != static_cast<uint32_t>(ReplyStat::kAccepted)) return Fail(Err::kProtocol);
  in.U32();  // the verifier, which is nothing to us
  in.Opaque(kAuthBodyMax);
  const uint32_t accepted = in.U32();
  if (in.failed()) return Fail(Err::kProtocol);
  switch (static_cast<AcceptStat>(accepted)) {
    case AcceptStat::kSuccess:
      return std::vector<std::byte>(in.remaining().begin(), in.remaining().end());
    case AcceptStat::kProgramUnavailable:
    case AcceptStat::kProgramMismatch:
    case AcceptStat::kProcedureUnavailable:
      return Fail(Err::kNotSupported);
    case AcceptStat::kGarbageArgs:
      return Fail(Err::kInvalid);
    case AcceptStat::kSystemError:
      return Fail(Err::kIo);
  }
  return Fail(Err::kProtocol);
}

Result<std::vector<std::byte>> Exchange(const UniqueFd& fd, const RemoteProcedure& procedure,
                                        std::span<const std::byte> args, Deadline deadline) {
  uint32_t xid = 0;
  PRISM_CHECK(::getrandom(&xid, sizeof xid, 0) == sizeof xid);
  std::vector<std::byte> message;
  XdrWriter out(message);
  out.U32(0);
  EncodeCallHeader(xid, procedure.program, procedure.version, procedure.procedure, out);
  out.FixedOpaque(args);
  out.SetU32(0, kLastFragment | static_cast<uint32_t>(message.size() - 4));
  PRISM_TRY(SendAll(fd.get(), message, deadline));
  RecordReader input(kClientReplyMax, nullptr);
  PRISM_TRY(ReceiveRecord(fd.get(), input, deadline));
  return DecodeReply(input.record(), xid);
}

}  // namespace

Result<std::vector<std::byte>> CallRemote(const PeerAddress& address,
                                          const RemoteProcedure& procedure,
                                          std::span<const std::byte> args, Deadline deadline) {
  sockaddr_storage storage;
  const socklen_t length = ToSockaddr(address, storage);
  PRISM_ASSIGN(const UniqueFd fd,
               Connect(reinterpret_cast<const sockaddr*>(&storage), length, deadline));
  return Exchange(fd, procedure, args, deadline);
}

Result<std::vector<std::byte>> CallLocal(const std::string& path, const RemoteProcedure& procedure,
                                         std::span<const std::byte> args, Deadline deadline) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) return Fail(Err::kInvalid);
  std::memcpy(address.sun_path, path.data(), path.size());
  PRISM_ASSIGN(const UniqueFd fd,
               Connect(reinterpret_cast<const sockaddr*>(&address), sizeof address, deadline));
  return Exchange(fd, procedure, args, deadline);
}

}  // namespace prism::rpc
