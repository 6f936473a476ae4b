#include "tools/prism/control_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace prism::tool {
namespace {

using nlohmann::json;

constexpr size_t kReplyMax = size_t{256} << 20;  // bytes; a list of a million volumes fits

Err ErrNamed(std::string_view name) {
  for (uint8_t i = 1; i < kErrCount; ++i)
    if (NameOf(static_cast<Err>(i)) == name) return static_cast<Err>(i);
  return Err::kIo;
}

}  // namespace

uint64_t NumberIn(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_number() ? found->get<uint64_t>() : 0;
}

std::string TextIn(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

bool FlagIn(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

bool IsBeingCounted(const json& volume) {
  return volume.contains("counted") && !FlagIn(volume, "counted");
}

Outcome<ControlClient> ControlClient::Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path)
    return Explain(Err::kNameTooLong, "a socket's path has 1 to {} bytes: {}",
                   sizeof address.sun_path - 1, path);
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ExplainErrno(errno, "cannot make a socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == ENOENT || errno == ECONNREFUSED)
      return Explain(Err::kDisconnected,
                     "no server answers at {}: start prismd --store DIR, or name its socket with "
                     "--control",
                     path);
    if (errno == EACCES || errno == EPERM)
      return Explain(Err::kPerm, "not permitted to talk to the server at {}: run as root", path);
    return ExplainErrno(errno, fmt::format("cannot connect to {}", path));
  }
  return ControlClient(std::move(fd), path);
}

Outcome<std::string> ControlClient::Exchange(const std::string& line) {
  const auto gone = [this] {
    return Explain(Err::kDisconnected, "the server at {} has gone: see its log", path_);
  };
  std::string_view rest = line;
  while (!rest.empty()) {
    const ssize_t sent = send(fd_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) break;  // it may have said why before it closed
    rest.remove_prefix(sent);
  }
  std::array<char, 65536> buffer;
  size_t searched = 0;
  while (true) {
    const size_t newline = received_.find('\n', searched);
    if (newline != std::string::npos) {
      std::string reply = received_.substr(0, newline);
      received_.erase(0, newline + 1);
      return reply;
    }
    searched = received_.size();
    if (searched > kReplyMax) return Explain(Err::kProtocol, "the server's reply is too long");
    const ssize_t got = recv(fd_.get(), buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return gone();
    received_.append(buffer.data(), got);
  }
}

Outcome<Reply> ControlClient::Call(std::string_view verb, json request) {
  request["verb"] = verb;
  const auto start = std::chrono::steady_clock::now();
  PRISM_ASSIGN(std::string line,
               Exchange(request.dump(-1, ' ', false, json::error_handler_t::replace) + "\n"));
  Reply reply;
  reply.took_us =
      std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
  json answer = json::parse(line, nullptr, false);
  if (!answer.is_object()) return Explain(Err::kProtocol, "what answers at {} is no prismd", path_);
  if (!FlagIn(answer, "ok"))
    return tl::unexpected(Failure{ErrNamed(TextIn(answer, "error")), TextIn(answer, "message")});
  if (answer.contains("server_us") && answer["server_us"].is_number())
    reply.server_us = answer["server_us"].get<double>();
  reply.result = std::move(answer["result"]);
  return reply;
}

}  // namespace prism::tool
