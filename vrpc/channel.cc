#include "vrpc/channel.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <string_view>

namespace prism::vrpc {
namespace {

Outcome<std::vector<UniqueFd>> MakeDoorbells(uint32_t count) {
  std::vector<UniqueFd> fds;
  for (uint32_t i = 0; i < count; ++i) {
    PRISM_ASSIGN(UniqueFd fd, MakeDoorbell());
    fds.push_back(std::move(fd));
  }
  return fds;
}

bool IsEventfd(const UniqueFd& fd) {
  char target[64] = {};
  ssize_t length =
      ::readlink(fmt::format("/proc/self/fd/{}", fd.get()).c_str(), target, sizeof target);
  return length > 0 &&
         std::string_view(target, static_cast<size_t>(length)) == "anon_inode:[eventfd]";
}

}  // namespace

Channel::Channel(const Geometry& geometry, Segment segment, std::vector<UniqueFd> to_server,
                 std::vector<UniqueFd> to_client, Signaller* signaller)
    : geometry_(geometry),
      segment_(std::move(segment)),
      to_server_(std::move(to_server)),
      to_client_(std::move(to_client)),
      signaller_(signaller) {}

Outcome<std::shared_ptr<Channel>> Channel::Create(const Geometry& geometry, Signaller* signaller) {
  PRISM_ASSIGN(Segment segment, Segment::Create(geometry));
  PRISM_ASSIGN(std::vector<UniqueFd> to_server, MakeDoorbells(geometry.vectors()));
  PRISM_ASSIGN(std::vector<UniqueFd> to_client, MakeDoorbells(geometry.vectors()));
  return std::shared_ptr<Channel>(new Channel(geometry, std::move(segment), std::move(to_server),
                                              std::move(to_client), signaller));
}

Outcome<std::shared_ptr<Channel>> Channel::Adopt(const Geometry& geometry, UniqueFd memory,
                                                 std::vector<UniqueFd> to_server,
                                                 std::vector<UniqueFd> to_client,
                                                 Signaller* signaller) {
  if (to_server.size() != geometry.vectors() || to_client.size() != geometry.vectors())
    return Explain(Err::kInvalid, "the channel has {} vectors, the port {}", to_server.size(),
                   geometry.vectors());
  if (!std::all_of(to_server.begin(), to_server.end(), IsEventfd) ||
      !std::all_of(to_client.begin(), to_client.end(), IsEventfd))
    return Explain(Err::kInvalid, "a doorbell of the channel is not an eventfd");
  Outcome<Segment> segment = Segment::Open(std::move(memory));
  if (!segment) return Explain(Err::kInvalid, "{}", segment.error().message);
  if (segment->memory().size() != HeaderFor(geometry).segment_bytes)
    return Explain(Err::kInvalid, "the channel's segment has {} bytes, the port's have {}",
                   segment->memory().size(), HeaderFor(geometry).segment_bytes);
  segment->WriteHeader(geometry);
  return std::shared_ptr<Channel>(new Channel(geometry, std::move(*segment), std::move(to_server),
                                              std::move(to_client), signaller));
}

void Channel::RingAll(uint32_t lane) const {
  uint32_t first = geometry_.handshake_vector(lane);
  for (uint32_t k = 0; k < geometry_.vectors_per_lane(); ++k) RingClient(first + k);
}

Sent Channel::Announce(int socket_fd, int64_t client_id, uint32_t& next) const {
  const uint32_t vectors = geometry_.vectors();
  const uint32_t first_vector = 3;  // after version, number and memory
  for (; next < first_vector + 2 * vectors; ++next) {
    int64_t value = kIvshmemVersion;
    int fd = -1;
    if (next == 1) {
      value = client_id;
    } else if (next == 2) {
      value = kIvshmemMemory;
      fd = segment_.fd();
    } else if (next >= first_vector) {
      uint32_t vector = (next - first_vector) % vectors;
      bool server = next - first_vector < vectors;
      value = server ? kIvshmemServerId : client_id;
      fd = (server ? to_server_ : to_client_)[vector].get();
    }
    Sent sent = SendMessage(socket_fd, value, fd);
    if (sent != Sent::kAll) return sent;
  }
  return Sent::kAll;
}

std::vector<int> Channel::Numbers(int socket_fd) const {
  std::vector<int> numbers = {socket_fd, segment_.fd()};
  for (const UniqueFd& fd : to_server_) numbers.push_back(fd.get());
  for (const UniqueFd& fd : to_client_) numbers.push_back(fd.get());
  return numbers;
}

}  // namespace prism::vrpc
