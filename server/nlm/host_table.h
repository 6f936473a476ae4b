// The machines that have locks here: who they are, and what is kept of them on disk so that they
// can be told after a restart (NSM).
//
// A machine is an address and the name that it gives to itself: behind one address (QEMU's user
// networking) there may be several. Its row is on disk before its first lock is granted, and goes
// when it says that it has none any more (NOTIFY, FREE_ALL). A start that finds rows is a restart
// that clients have to hear of: it renews the state number and begins a grace period.
//
// Settings: nlm/state: decimal, odd; grows with every start. nlm/host/IP/NAME-IN-HEX: "1".
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "fs/base/failure.h"
#include "fs/core/host.h"
#include "server/rpc/program.h"

namespace prism::nlm {

struct Machine {
  uint64_t id = 0;           // of this run of the server
  rpc::PeerAddress address;  // without a port
  std::string name;
  bool privileged = false;  // it called from a port below 1024
};

// THREADS: any. The Host outlives it.
class HostTable {
 public:
  static constexpr size_t kMachinesMax = 4096;
  static constexpr ptrdiff_t kMachinesPerAddressMax = 256;

  // Reads what the last run left, and makes the new state number durable.
  static Outcome<std::unique_ptr<HostTable>> Open(fs::Host& host);

  uint32_t state() const { return state_; }
  // Those of the last run.
  const std::vector<Machine>& to_notify() const { return to_notify_; }

  // The machine's number; durable when it returns. kNoLocks: too many machines; kIo.
  Result<uint64_t> Register(const rpc::PeerAddress& peer, std::string_view name);
  // 0: unknown in this run.
  uint64_t Find(const rpc::PeerAddress& peer, std::string_view name) const;
  // The machines at the peer's address that call themselves so, as NSM says it; their rows go. Who
  // calls from any port cannot speak for one that came from a privileged one.
  std::vector<uint64_t> Forget(const rpc::PeerAddress& peer, std::string_view name);
  // The grace period is over: who has not come back has no locks.
  void ForgetOld();

 private:
  explicit HostTable(fs::Host& host) : host_(host) {}
  static std::string KeyOf(const rpc::PeerAddress& peer, std::string_view name);

  fs::Host& host_;
  uint32_t state_ = 1;
  std::vector<Machine> to_notify_;
  mutable std::mutex mutex_;
  std::unordered_map<std::string, Machine> machines_;  // by key
  std::unordered_map<std::string, Machine> old_;       // rows of the last run
  uint64_t next_id_ = 1;
};

}  // namespace prism::nlm
