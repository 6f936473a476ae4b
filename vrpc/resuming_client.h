// A client that outlives its server: when the server is killed, restarted or upgraded, or the lane
// is lost, calls wait, and go on with the next server as if nothing had been.
//
// EXACTLY ONCE: each call that changes names or attributes has a number, which the server notes in
// the same atomic step; a call whose reply never came asks by that number whether it was done. An
// append says where it expects the end. Everything else may be done twice.
// NOTHING IS LOST: what the server had acknowledged as unstable is kept here until it is stable
// (at most kUnsyncedMax, and about a second long), and written again if the server lost it. Locks
// are asked for again. Names and attributes are kept by the server itself (cow/journal_tail.h).
// CACHES: after each such change of servers the listener is told Event::kAll.
// THE END: a server that does not come back within ResumeOptions::patience_ms, or refuses (the
// volume is gone). All calls then fail with kDisconnected.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"
#include "vrpc/client.h"
#include "vrpc/held_locks.h"
#include "vrpc/unsynced_writes.h"

namespace prism::vrpc {

struct ResumeOptions {
  uint64_t patience_ms = 60'000;  // without a server, before the end; 0: none
};

// THREADS: as Client. FORK: as Client.
class ResumingClient final : public fs::FileSystem {
 public:
  static constexpr size_t kUnsyncedMax = size_t{32} << 20;  // bytes

  // The first connection is not waited for: errors as Client::Connect.
  static Outcome<std::shared_ptr<ResumingClient>> Connect(EndpointFactory endpoints,
                                                          ConnectOptions options,
                                                          const ResumeOptions& resume);
  // REQUIRES: no call under way.
  ~ResumingClient() override;

  // Called once, from an internal thread, at the end, with the reason; at once if that was already.
  // It must not call this object.
  void SetEndCallback(std::function<void(const std::string& reason)> callback);
  // The end from this side: calls that wait for a server fail too.
  void Disconnect();
  // How often a lost session has been resumed.
  uint64_t resumed() const { return generation_.load(std::memory_order_acquire) - 1; }

  void SetListener(fs::EventListener* listener) override;
  Result<fs::StatfsResult> Statfs(const fs::Caller& caller) override;
  Result<fs::EntryResult> Lookup(const fs::Caller& caller, InodeId dir,
                                 std::string_view name) override;
  Result<fs::Attr> Getattr(const fs::Caller& caller, InodeId ino) override;
  Result<fs::Change> Setattr(const fs::Caller& caller, InodeId ino,
                             const fs::SetAttr& changes) override;
  Result<uint32_t> Access(const fs::Caller& caller, InodeId ino, uint32_t mask) override;
  Result<std::string> Readlink(const fs::Caller& caller, InodeId ino) override;
  Result<fs::ReadResult> Read(const fs::Caller& caller, InodeId ino, uint64_t offset,
                              std::span<std::byte> buffer) override;
  Result<fs::ReadResult> ReadInPlace(
      const fs::Caller& caller, InodeId ino, uint64_t offset, size_t length,
      FunctionRef<void(const fs::ReadResult&, std::span<const std::byte>)> visitor) override;
  Result<fs::WriteResult> Write(const fs::Caller& caller, const fs::WriteArgs& args) override;
  Result<fs::EntryResult> Create(const fs::Caller& caller, const fs::CreateArgs& args) override;
  Result<fs::EntryResult> Link(const fs::Caller& caller, InodeId ino, InodeId dir,
                               std::string_view name) override;
  Result<fs::RemoveResult> Unlink(const fs::Caller& caller, InodeId dir,
                                  std::string_view name) override;
  Result<fs::RemoveResult> Rmdir(const fs::Caller& caller, InodeId dir,
                                 std::string_view name) override;
  // Repeated for a server that had done it, it cannot say what was replaced.
  Result<fs::RenameResult> Rename(const fs::Caller& caller, InodeId from_dir,
                                  std::string_view from_name, InodeId to_dir,
                                  std::string_view to_name, uint32_t flags) override;
  Result<fs::ReaddirResult> Readdir(const fs::Caller& caller, InodeId dir, uint64_t cookie,
                                    bool with_attr,
                                    FunctionRef<bool(const fs::DirEntry&)> visitor) override;
  // Also kIo, once: writes of this inode were lost with a server and could not be repeated.
  Status Fsync(const fs::Caller& caller, InodeId ino, bool data_only) override;
  Status Sync(const fs::Caller& caller) override;
  Result<std::string> Getxattr(const fs::Caller& caller, InodeId ino,
                               std::string_view name) override;
  Status Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                  std::string_view value, fs::XattrMode mode) override;
  Result<std::vector<std::string>> Listxattr(const fs::Caller& caller, InodeId ino) override;
  Status Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) override;
  Result<fs::Change> Fallocate(const fs::Caller& caller, InodeId ino, fs::FallocateMode mode,
                               uint64_t offset, uint64_t length) override;
  Result<uint64_t> Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                        fs::SeekWhence whence) override;
  Result<uint64_t> CopyRange(const fs::Caller& caller, InodeId from, uint64_t from_offset,
                             InodeId to, uint64_t to_offset, uint64_t length) override;
  Status Release(const fs::Caller& caller, InodeId ino) override;
  Status AnswerBarrier(const fs::Caller& caller, uint64_t cookie, bool written) override;
  Status Lock(const fs::Caller& caller, const fs::LockArgs& args) override;
  Result<std::optional<fs::LockHolder>> TestLock(const fs::Caller& caller,
                                                 const fs::LockArgs& args) override;
  Status CancelLock(const fs::Caller& caller, uint64_t cookie) override;
  Status DropLocks(const fs::Caller& caller, InodeId ino, std::string_view owner_prefix) override;

 private:
  // Passes a session's events on, and learns from them.
  class Relay final : public fs::EventListener {
   public:
    explicit Relay(ResumingClient& owner) : owner_(owner) {}
    void OnEvent(const fs::Event& event) override;

   private:
    ResumingClient& owner_;
  };
  struct Live {
    std::shared_ptr<Client> client;  // null: the end
    uint64_t generation = 0;
  };

  ResumingClient(EndpointFactory endpoints, ConnectOptions options, const ResumeOptions& resume);

  // resuming_client.cc: whom to ask.
  Live Current();                                    // waits while there is none
  void Lost(const std::shared_ptr<Client>& client);  // no longer the current one
  void Keep();                                       // the thread's body
  void Resume(std::unique_lock<std::mutex>& lock);   // REQUIRES: lost
  Outcome<std::shared_ptr<Client>> TryResume();
  Status Restore(Client& client);
  void Listen(Client& client);
  void End(const std::string& reason);  // REQUIRES: mutex_
  void Tell(const fs::Event& event);

  // resuming_calls.cc
  template <typename Call>
  auto Do(Call&& call) -> decltype(call(std::declval<Client&>()));
  template <typename Call, typename Again>
  auto Once(const fs::Caller& caller, Call&& call, Again&& again)
      -> decltype(call(std::declval<Client&>(), caller));
  // Notes what the session of this generation has answered. False: it is lost, and the next one may
  // have been asked for what there was before.
  bool NoteOf(uint64_t generation, FunctionRef<void()> note);
  Result<fs::WriteResult> Append(const fs::Caller& caller, const fs::WriteArgs& args);
  Result<fs::WriteResult> Remember(const fs::WriteArgs& args, fs::WriteResult result,
                                   uint64_t generation);
  Status Settle(InodeId ino);
  Status SyncAll(const fs::Caller& caller);

  const EndpointFactory endpoints_;
  const ConnectOptions options_;  // with the client's id
  const ResumeOptions resume_;
  std::atomic<uint32_t> next_number_{1};
  UnsyncedWrites unsynced_;
  HeldLocks locks_;
  Relay relay_{*this};

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::shared_ptr<Client> client_;  // null: lost, or the end
  bool ended_ = false;
  bool stopping_ = false;
  uint64_t durability_epoch_ = 0;
  std::string end_reason_;
  std::function<void(const std::string&)> end_callback_;
  std::atomic<uint64_t> generation_{1};  // grows, with mutex_, when a session is lost

  std::mutex listener_mutex_;  // held while the listener runs
  fs::EventListener* listener_ = nullptr;

  std::thread keeper_;
};

}  // namespace prism::vrpc
