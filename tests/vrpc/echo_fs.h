// A FileSystem whose answers are a function of the question alone, and which writes every question
// down: asked directly and through a lane, it must answer the same and have understood the same.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <string>
#include <vector>

#include "fs/contract/file_system.h"

namespace prism::vrpc {

class EchoFs : public fs::FileSystem {
 public:
  // Inodes that are not echoed.
  static constexpr InodeId kStaleInode = 404;     // kStale
  static constexpr InodeId kBlockingInode = 405;  // Fsync waits for Unblock
  static constexpr uint32_t kListingSize = 2000;  // entries of every directory
  static constexpr uint64_t kFirstCookie = 3;

  ~EchoFs() override;
  std::vector<std::string> TakeLog();
  void Unblock();
  void AwaitBlocked(uint32_t calls);
  void Send(const fs::Event& event);
  // Set when an object is destroyed: tells that a lane has let go.
  static std::atomic<int> alive;
  EchoFs() { ++alive; }

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
  Status Lock(const fs::Caller& caller, const fs::LockArgs& args) override;
  Result<std::optional<fs::LockHolder>> TestLock(const fs::Caller& caller,
                                                 const fs::LockArgs& args) override;
  Status CancelLock(const fs::Caller& caller, uint64_t cookie) override;
  Status DropLocks(const fs::Caller& caller, InodeId ino, std::string_view owner_prefix) override;

 private:
  template <typename... Args>
  void Note(const char* op, const fs::Caller& caller, const Args&... args);

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> log_;
  uint32_t blocked_ = 0;
  bool unblocked_ = false;
  std::mutex listener_mutex_;
  fs::EventListener* listener_ = nullptr;
};

// Attributes that say which inode they are of, with a different value in every field.
fs::Attr EchoAttr(InodeId ino);

}  // namespace prism::vrpc
