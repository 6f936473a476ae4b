// The client's end of a lane: a volume of a server in another process, as a fs::FileSystem.
//
// THREADS: any number. Each call borrows one of the lane's queues; when all are busy it waits for
// one. A call waits for its reply by polling briefly where replies of its kind come fast, then
// asleep.
// DEATH: when the server or the lane goes, every pending and later call returns kDisconnected
// promptly. Whether a pending call took place is then unknown, unless it carried a number
// (Caller::request): a later client of the same `client` id can ask by FindDone. A Client does not
// reconnect: ResumingClient does.
// FORK: connect after forking into the background; the thread inside does not survive fork().
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"
#include "vrpc/endpoint.h"

namespace prism::vrpc {

class Session;

struct ConnectOptions {
  std::string volume;
  bool importing = false;       // to fill an import that is not published yet
  bool barriers = false;        // the listener answers Event::kBarrier
  bool snapshots = false;       // the root has a directory .snapshot (PROTOCOL.md)
  uint32_t timeout_ms = 10000;  // for connecting and the handshake
  uint32_t queues = 0;          // calls that can be under way; 0: as many as the server gives
  uint32_t spin_us_max = 50;    // longest polling for a reply before sleeping; 0: never
  uint64_t client = 0;          // by which the server knows its requests again; 0: a new one
  bool resume = false;          // this client had a session, which was lost
};

class Client final : public fs::FileSystem {
 public:
  // Errors: the endpoint's own, kTimedOut, kProtocol (not a Prism server, or none of this version),
  // and the server's own refusal, in its words.
  static Outcome<std::shared_ptr<Client>> Connect(const EndpointFactory& endpoints,
                                                  const ConnectOptions& options);
  // Over a port's socket: see SocketEndpoint.
  static Outcome<std::shared_ptr<Client>> Connect(const std::string& lane_path,
                                                  const ConnectOptions& options);
  // REQUIRES: no call under way. May run within the disconnect callback.
  ~Client() override;

  // Called once, from an internal thread, when the server or the lane has gone by itself (not by
  // Disconnect or destruction); at once, on this thread, when it already has. It may destroy this
  // object; it must not wait for other calls of it, other than those that then fail.
  void SetDisconnectCallback(std::function<void()> callback);
  bool connected() const;
  // Ends the lane from this side: pending and later calls return kDisconnected.
  void Disconnect();

  // What the server said about itself: changes when, and only when, it may have lost what it had
  // acknowledged as unstable.
  uint64_t durability_epoch() const { return durability_epoch_; }

  // Does nothing, on the server: a measure of the channel.
  Status Null();

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
  // Shows the shared memory itself, or a private copy where that memory is a device's; a queue is
  // held meanwhile.
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
  Result<fs::RenameResult> Rename(const fs::Caller& caller, InodeId from_dir,
                                  std::string_view from_name, InodeId to_dir,
                                  std::string_view to_name, uint32_t flags) override;
  // The visitor runs on the caller's thread, on a private copy of a batch of entries, while no
  // queue is held.
  Result<fs::ReaddirResult> Readdir(const fs::Caller& caller, InodeId dir, uint64_t cookie,
                                    bool with_attr,
                                    FunctionRef<bool(const fs::DirEntry&)> visitor) override;
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
  // Of this client's requests: the rest of the id is not looked at.
  Status AnswerBarrier(const fs::Caller& caller, uint64_t cookie, bool written) override;
  Result<InodeId> FindDone(const fs::RequestId& request) override;
  Status Lock(const fs::Caller& caller, const fs::LockArgs& args) override;
  Result<std::optional<fs::LockHolder>> TestLock(const fs::Caller& caller,
                                                 const fs::LockArgs& args) override;
  Status CancelLock(const fs::Caller& caller, uint64_t cookie) override;
  Status DropLocks(const fs::Caller& caller, InodeId ino, std::string_view owner_prefix) override;

 private:
  Client(std::shared_ptr<Session> session, uint64_t durability_epoch);

  std::shared_ptr<Session> session_;
  const uint64_t durability_epoch_;
  std::thread watcher_;  // waits for events and for the end of the lane
};

}  // namespace prism::vrpc
