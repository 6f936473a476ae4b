// The control socket: one JSON object per line each way, a thread per connection.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_set>

#include "fs/base/failure.h"
#include "fs/base/log_limit.h"
#include "server/control_verbs.h"
#include "server/unix_listener.h"

namespace prism::server {

inline constexpr size_t kControlConnectionsMax = 64;
inline constexpr int kControlSendTimeoutSec = 10;

class ControlServer {
 public:
  explicit ControlServer(ControlContext context) : context_(std::move(context)) {}
  ~ControlServer() { Stop(); }
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;

  // Takes the path; errors as UnixListener::Listen. Who connects from now on waits for Start.
  Outcome<void> Bind(const std::string& path);
  // Only root and this process's own user are served.
  void Start();

  // Requests that run are finished, then all connections are closed.
  void Stop();

 private:
  void Accept();
  void Admit(int fd);
  void Serve(int fd);
  // Waits until fd can be read or the server stops; false in the latter case.
  bool WaitReadable(int fd);

  ControlContext context_;
  UnixListener listener_;
  LogLimit accept_log_;
  int stop_fd_ = -1;  // an eventfd, readable once the server stops
  std::thread acceptor_;

  std::mutex mutex_;
  std::condition_variable idle_;
  size_t connections_ = 0;
};

}  // namespace prism::server
