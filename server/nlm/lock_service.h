// What NLM's procedures do, on the locks of the contract.
//
// Each volume that is locked by network clients has one FileSystem here, apart from NFS' own, that
// holds their locks; the owners in it are machine, svid and oh. A request that blocks is queued in
// the volume; when it is granted the client is called back (GRANTED), some times if it does not
// answer, and if it never does, or does not want it any more, the lock is given back. A client that
// asks again meanwhile (Linux does every 30 s) has it: what is behind user networking cannot be
// called at all.
//
// GRACE: for a while after a start that finds that machines had locks, only they may lock, and only
// what they had (reclaim). Mounts are not held back: their locks went with the server, and so did
// they.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "server/nfs3/exchange.h"
#include "server/nlm/callback_pool.h"
#include "server/nlm/host_table.h"
#include "server/nlm/share_table.h"
#include "server/nlm/types.h"

namespace prism::nlm {

struct LockOptions {
  uint32_t grace_ms = 45'000;          // Linux' clients notice a restart by NSM, or in 30 s
  uint32_t granted_retry_ms = 10'000;  // between attempts to tell a client that it has a lock
  uint32_t granted_attempts = 5;       // together longer than the 30 s until it asks by itself
};

// THREADS: any.
class LockService {
 public:
  // All outlive it. Begins the grace period.
  LockService(const nfs3::Services& services, HostTable& hosts, CallbackPool& callbacks,
              const LockOptions& options);
  ~LockService();

  // DENIED: `holder` is filled in.
  Nlm4Status Test(const rpc::Call& call, const LockCall& request, Holder& holder);
  Nlm4Status Lock(const rpc::Call& call, const LockCall& request);
  Nlm4Status Cancel(const rpc::Call& call, const LockCall& request);
  Nlm4Status Unlock(const rpc::Call& call, const LockCall& request);
  Nlm4Status Share(const rpc::Call& call, const ShareCall& request);
  Nlm4Status Unshare(const rpc::Call& call, const ShareCall& request);
  // The machine has restarted, or says that it has no locks.
  void FreeAll(const rpc::PeerAddress& peer, std::string_view name);

  bool InGrace() const { return std::chrono::steady_clock::now() < grace_end_; }

 private:
  class Volume;
  // The file that a handle names, and as whom this client uses it.
  struct Target {
    std::shared_ptr<Volume> volume;
    VolumeId volume_id = 0;
    InodeId ino = 0;
    bool read_only = false;
    nfs3::Identity identity;
    fs::Caller Caller() const;
    fs::FileSystem& fs() const;
  };
  // A request that waits, or has been granted and not yet been told.
  struct Pending {
    uint64_t machine = 0;
    std::shared_ptr<Volume> volume;
    fs::LockArgs args;  // its owner is `owner`
    std::string owner;
    rpc::PeerAddress peer;
    GrantedCall told;
    bool granted = false;
  };
  static constexpr size_t kPendingMax = 4096;
  static constexpr ptrdiff_t kPendingPerAddressMax = 512;

  Nlm4Status Resolve(const rpc::Call& call, std::span<const std::byte> handle, Target& target);
  Result<std::shared_ptr<Volume>> FindVolume(VolumeId id);
  Nlm4Status LockBlocking(const rpc::Call& call, const LockCall& request, const Target& target,
                          fs::LockArgs args, uint64_t machine);
  // The cookie of the same request; 0: none. REQUIRES: mutex_
  uint64_t FindPending(uint64_t machine, const Volume* volume, const fs::LockArgs& args) const;
  std::shared_ptr<Pending> TakePending(uint64_t cookie);
  void OnGranted(uint64_t cookie);
  void Deliver(uint64_t cookie, uint32_t attempt);
  void GiveBack(uint64_t cookie);

  const nfs3::Services services_;
  HostTable& hosts_;
  CallbackPool& callbacks_;
  const LockOptions options_;
  const std::chrono::steady_clock::time_point grace_end_;
  ShareTable shares_;

  // Not held while a file system is called.
  std::mutex mutex_;
  std::unordered_map<VolumeId, std::shared_ptr<Volume>> volumes_;
  std::unordered_map<uint64_t, std::shared_ptr<Pending>> pending_;  // by cookie
  uint64_t next_cookie_ = 1;
};

}  // namespace prism::nlm
