#include "server/rpc/socket.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace prism::rpc {
namespace {

constexpr std::array<uint8_t, 12> kV4Prefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr int kBacklog = 256;

constexpr int kKeepAliveIdleSec = 60;
constexpr int kKeepAliveIntervalSec = 10;
constexpr int kKeepAliveProbes = 6;
constexpr unsigned kUserTimeoutMs = 120'000;

template <typename T>
void SetOption(int fd, int level, int name, T value) {
  // None of these can fail on a TCP socket; without them it would work as well.
  (void)::setsockopt(fd, level, name, &value, sizeof value);
}

}  // namespace

bool PeerAddress::IsV4() const {
  return std::equal(kV4Prefix.begin(), kV4Prefix.end(), ip.begin());
}

bool PeerAddress::IsLoopback() const {
  if (IsV4()) return ip[12] == 127;
  return std::all_of(ip.begin(), ip.end() - 1, [](uint8_t byte) { return byte == 0; }) &&
         ip[15] == 1;
}

std::string PeerAddress::Text() const {
  char text[INET6_ADDRSTRLEN] = {};
  if (IsV4())
    ::inet_ntop(AF_INET, ip.data() + 12, text, sizeof text);
  else
    ::inet_ntop(AF_INET6, ip.data(), text, sizeof text);
  return text;
}

Outcome<PeerAddress> ParseEndpoint(std::string_view text) {
  auto bad = [&] {
    return Explain(Err::kInvalid,
                   "not an address and port: \"{}\" (say 127.0.0.1:2049 or [::1]:2049)", text);
  };
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return bad();
  std::string host(text.substr(0, colon));
  const std::string_view port = text.substr(colon + 1);
  PeerAddress address;
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  if (port.empty() || error != std::errc() || end != port.data() + port.size()) return bad();
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
    if (::inet_pton(AF_INET6, host.c_str(), address.ip.data()) != 1) return bad();
    return address;
  }
  std::copy(kV4Prefix.begin(), kV4Prefix.end(), address.ip.begin());
  if (::inet_pton(AF_INET, host.c_str(), address.ip.data() + 12) != 1) return bad();
  return address;
}

std::string EndpointText(const PeerAddress& address) {
  return fmt::format("{}{}{}:{}", address.IsV4() ? "" : "[", address.Text(),
                     address.IsV4() ? "" : "]", address.port);
}

PeerAddress FromSockaddr(const sockaddr_storage& address) {
  PeerAddress peer;
  if (address.ss_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    std::copy(kV4Prefix.begin(), kV4Prefix.end(), peer.ip.begin());
    std::memcpy(peer.ip.data() + 12, &in.sin_addr, 4);
    peer.port = ntohs(in.sin_port);
  } else if (address.ss_family == AF_INET6) {
    sockaddr_in6 in;
    std::memcpy(&in, &address, sizeof in);
    std::memcpy(peer.ip.data(), &in.sin6_addr, 16);
    peer.port = ntohs(in.sin6_port);
  }
  return peer;
}

socklen_t ToSockaddr(const PeerAddress& address, sockaddr_storage& out) {
  out = {};
  if (address.IsV4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    std::memcpy(&in.sin_addr, address.ip.data() + 12, 4);
    in.sin_port = htons(address.port);
    std::memcpy(&out, &in, sizeof in);
    return sizeof in;
  }
  sockaddr_in6 in{};
  in.sin6_family = AF_INET6;
  std::memcpy(&in.sin6_addr, address.ip.data(), 16);
  in.sin6_port = htons(address.port);
  std::memcpy(&out, &in, sizeof in);
  return sizeof in;
}

Outcome<UniqueFd> ListenAt(const PeerAddress& address, PeerAddress& bound) {
  sockaddr_storage storage;
  socklen_t length = ToSockaddr(address, storage);
  const std::string what = "cannot listen at " + EndpointText(address);
  UniqueFd fd(::socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return ExplainErrno(errno, what);
  SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (storage.ss_family == AF_INET6) SetOption(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&storage), length) != 0 ||
      ::listen(fd.get(), kBacklog) != 0)
    return ExplainErrno(errno, what);
  length = sizeof storage;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&storage), &length) != 0)
    return ExplainErrno(errno, what);
  bound = FromSockaddr(storage);
  return fd;
}

void SetConnectionOptions(int fd) {
  SetOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleSec);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalSec);
  SetOption(fd, IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
  SetOption(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, kUserTimeoutMs);
}

}  // namespace prism::rpc
