#include "server/fd_pack.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "fs/base/check.h"
#include "server/fd_message.h"

namespace prism::server {
namespace {

constexpr char kMagic[] = {'P', 'F', 'D', '1'};  // before the note, in the first message
constexpr size_t kHeaderBytes = sizeof kMagic + sizeof(uint32_t);

// The first message says how many descriptors there are in all, so that half a pack is seen.
std::string Header(std::string_view note, size_t count) {
  std::string header(kMagic, sizeof kMagic);
  const auto total = static_cast<uint32_t>(count);
  header.append(reinterpret_cast<const char*>(&total), sizeof total);
  return header.append(note);
}

}  // namespace

Outcome<UniqueFd> PackFds(std::string_view note, std::span<const int> fds) {
  PRISM_CHECK(!fds.empty() && fds.size() <= kPackFdsMax && note.size() <= kPackNoteMax);
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
    return ExplainErrno(errno, "cannot make a socket pair");
  UniqueFd pack(pair[0]);
  UniqueFd in(pair[1]);
  for (size_t done = 0; done < fds.size();) {
    const auto part = fds.subspan(done, std::min(fds.size() - done, kMessageFdsMax));
    if (!SendFds(in.get(), done == 0 ? Header(note, fds.size()) : "+", part))
      return ExplainErrno(errno, "cannot pack descriptors");
    done += part.size();
  }
  return pack;
}

Outcome<PackedFds> UnpackFds(int pack) {
  const auto bad = [] { return Explain(Err::kCorrupt, "these are no stored descriptors"); };
  int offset = 0;
  if (::setsockopt(pack, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset) != 0) return bad();
  PackedFds content;
  uint32_t total = 0;
  do {
    Outcome<FdMessage> message =
        ReceiveFds(pack, kHeaderBytes + kPackNoteMax, MSG_PEEK | MSG_DONTWAIT);
    if (!message || message->fds.empty()) return bad();
    if (content.fds.empty()) {
      if (message->bytes.size() < kHeaderBytes ||
          !message->bytes.starts_with(std::string_view(kMagic, sizeof kMagic)))
        return bad();
      message->bytes.copy(reinterpret_cast<char*>(&total), sizeof total, sizeof kMagic);
      if (total == 0 || total > kPackFdsMax) return bad();
      content.note = message->bytes.substr(kHeaderBytes);
    }
    std::move(message->fds.begin(), message->fds.end(), std::back_inserter(content.fds));
  } while (content.fds.size() < total);
  if (content.fds.size() != total) return bad();
  return content;
}

}  // namespace prism::server
