// Descriptors to be kept over a server's end.
#pragma once

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "fs/base/unique_fd.h"

namespace prism::server {

inline ino_t InodeOf(int fd) {
  struct stat st = {};
  EXPECT_EQ(::fstat(fd, &st), 0);
  return st.st_ino;
}

inline UniqueFd Memory(const std::string& content) {
  UniqueFd fd(::memfd_create("test", MFD_CLOEXEC));
  EXPECT_EQ(::write(fd.get(), content.data(), content.size()), ssize_t(content.size()));
  return fd;
}

// What a channel has: a socket with a peer, a segment, an eventfd.
struct Channel {
  UniqueFd socket, peer, memory, event;
  explicit Channel(const std::string& content) : memory(Memory(content)), event(::eventfd(0, 0)) {
    int pair[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    socket = UniqueFd(pair[0]);
    peer = UniqueFd(pair[1]);
  }
  std::vector<int> fds() const { return {socket.get(), memory.get(), event.get()}; }
};

}  // namespace prism::server
