// Keeps file descriptors alive while the server is not: what a virtual machine has of its lane (the
// segment, the eventfds, the socket) cannot be handed to it again, so a restarted server must find
// the very same ones.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "server/fd_pack.h"

namespace prism::server {

// THREADS: any, one call at a time.
class FdStore {
 public:
  struct Entry {
    std::string name;
    PackedFds content;
  };

  virtual ~FdStore() = default;

  // Stores copies; an entry of that name (plain_name.h) is replaced. fds[0] is a connected socket:
  // the store may forget the entry once the peer has closed it. When this returns, a server that is
  // killed will be followed by one that finds the entry.
  virtual Outcome<void> Put(const std::string& name, std::string_view note,
                            std::span<const int> fds) = 0;
  // Absent: nothing happens.
  virtual void Remove(const std::string& name) = 0;
  // What earlier servers stored. The entries stay until they are removed; those that cannot be read
  // are removed, with a line in the log.
  virtual std::vector<Entry> TakeAll() = 0;
};

// The service manager's: sd_notify(3), FDSTORE=1. It keeps one descriptor per entry, and keeps it
// over a restart, not over a stop. FileDescriptorStoreMax= must be set in the unit.
// Constructed once per process: it takes the descriptors that the process was started with.
std::unique_ptr<FdStore> OpenSystemdFdStore();

// A process of our own, `prismd-holder` at socket_path, for servers that no service manager starts.
// It is started from holder_program when something is stored and it is not there, and ends by
// itself: holder.h.
std::unique_ptr<FdStore> OpenHolderFdStore(std::string socket_path, std::string holder_program);

// The one that fits: systemd's for a service that systemd itself started, the holder otherwise.
std::unique_ptr<FdStore> OpenFdStore(const std::string& control_path);

}  // namespace prism::server
