// `prismd-holder`: a small process that keeps descriptors while no server runs, and the messages
// that it understands.
//
// It listens at a SOCK_SEQPACKET socket of mode 0600 and serves its own user only. A connection
// asks one thing at a time, by one message; each is answered by one message.
//
//   request    op u8, name (0 to kPlainNameMax bytes); kHolderPut carries two descriptors: the
//              entry's pack (fd_pack.h) and its lifeline, a connected socket
//   answer     Err u8, name; to kHolderNext the name of the first entry whose name is greater than
//              the one asked for, with its pack; kNoEntry when there is none
//
// It drops an entry when the lifeline's peer closes, and ends when it holds nothing any more, when
// nothing was stored in its first kHolderStartMs, or when its socket's file is gone: it is never
// left behind.
#pragma once

#include <cstddef>
#include <cstdint>

namespace prism::server {

inline constexpr uint8_t kHolderPut = 1;
inline constexpr uint8_t kHolderRemove = 2;
inline constexpr uint8_t kHolderNext = 3;

inline constexpr size_t kHolderEntriesMax = 4096;
inline constexpr size_t kHolderConnectionsMax = 16;
inline constexpr int kHolderStartMs = 10000;

}  // namespace prism::server
