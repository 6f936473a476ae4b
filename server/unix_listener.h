// A listening UNIX socket that replaces what a dead server left behind.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <string>

#include "fs/base/failure.h"

namespace prism::server {

class UnixListener {
 public:
  UnixListener() = default;
  ~UnixListener() { Close(); }
  UnixListener(const UnixListener&) = delete;
  UnixListener& operator=(const UnixListener&) = delete;

  // Mode 0600. The directory is made (0755) if it is absent. A socket there that somebody answers
  // is kBusy, one that nobody answers is replaced, anything else there is kExists.
  // type: SOCK_STREAM or SOCK_SEQPACKET.
  Outcome<void> Listen(const std::string& path, int type = SOCK_STREAM);

  int fd() const { return fd_; }
  const std::string& path() const { return path_; }
  // Whether the path still leads to this socket.
  bool IsInPlace() const;

  // Closes, and removes the path if it is still this socket.
  void Close();

 private:
  std::string path_;
  int fd_ = -1;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

// Whether the peer of a connected UNIX socket runs as root or as this process's own user.
bool PeerIsAllowed(int fd);

}  // namespace prism::server
