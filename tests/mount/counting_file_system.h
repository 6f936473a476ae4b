// Passes every call on, and counts it: tests say what a system call may cost.
#pragma once

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "fs/contract/file_system.h"

namespace prism::mount {

class CountingFileSystem final : public fs::FileSystem {
 public:
  explicit CountingFileSystem(std::shared_ptr<fs::FileSystem> inner) : inner_(std::move(inner)) {}

  // Calls of this method since Reset; "*" is all of them.
  unsigned Calls(const std::string& method) const {
    std::lock_guard lock(mutex_);
    if (method != "*") return calls_.count(method) ? calls_.at(method) : 0;
    unsigned total = 0;
    for (const auto& [name, count] : calls_) total += count;
    return total;
  }
  std::string Summary() const {
    std::lock_guard lock(mutex_);
    std::string text;
    for (const auto& [name, count] : calls_) text += name + "=" + std::to_string(count) + " ";
    return text;
  }
  void Reset() {
    std::lock_guard lock(mutex_);
    calls_.clear();
  }
  std::set<InodeId> released() const {
    std::lock_guard lock(mutex_);
    return released_;
  }
  bool Released(InodeId ino) const {
    std::lock_guard lock(mutex_);
    return released_.count(ino) > 0;
  }
  fs::WriteArgs last_write() const {
    std::lock_guard lock(mutex_);
    return last_write_;
  }

  // Runs in the thread that serves an fsync; set before any is made.
  std::function<void()> before_fsync;

  // Events are lost from here on, as on a channel that is overrun.
  void Mute() { muted_ = true; }
  // An event of the test's own.
  void Inject(const fs::Event& event) {
    std::lock_guard lock(mutex_);
    if (listener_ != nullptr) listener_->OnEvent(event);
  }

  void SetListener(fs::EventListener* listener) override {
    {
      std::lock_guard lock(mutex_);
      listener_ = listener;
    }
    inner_->SetListener(listener == nullptr ? nullptr : &filter_);
  }
  Result<fs::StatfsResult> Statfs(const fs::Caller& caller) override {
    Count("Statfs");
    return inner_->Statfs(caller);
  }
  Result<fs::EntryResult> Lookup(const fs::Caller& caller, InodeId dir,
                                 std::string_view name) override {
    Count("Lookup");
    return inner_->Lookup(caller, dir, name);
  }
  Result<fs::Attr> Getattr(const fs::Caller& caller, InodeId ino) override {
    Count("Getattr");
    return inner_->Getattr(caller, ino);
  }
  Result<fs::Change> Setattr(const fs::Caller& caller, InodeId ino,
                             const fs::SetAttr& changes) override {
    Count("Setattr");
    return inner_->Setattr(caller, ino, changes);
  }
  Result<uint32_t> Access(const fs::Caller& caller, InodeId ino, uint32_t mask) override {
    Count("Access");
    return inner_->Access(caller, ino, mask);
  }
  Result<std::string> Readlink(const fs::Caller& caller, InodeId ino) override {
    Count("Readlink");
    return inner_->Readlink(caller, ino);
  }
  Result<fs::ReadResult> Read(const fs::Caller& caller, InodeId ino, uint64_t offset,
                              std::span<std::byte> buffer) override {
    Count("Read");
    return inner_->Read(caller, ino, offset, buffer);
  }
  Result<fs::WriteResult> Write(const fs::Caller& caller, const fs::WriteArgs& args) override {
    Count("Write");
    {
      std::lock_guard lock(mutex_);
      last_write_ = args;
      last_write_.data = {};
    }
    return inner_->Write(caller, args);
  }
  Result<fs::EntryResult> Create(const fs::Caller& caller, const fs::CreateArgs& args) override {
    Count("Create");
    return inner_->Create(caller, args);
  }
  Result<fs::EntryResult> Link(const fs::Caller& caller, InodeId ino, InodeId dir,
                               std::string_view name) override {
    Count("Link");
    return inner_->Link(caller, ino, dir, name);
  }
  Result<fs::RemoveResult> Unlink(const fs::Caller& caller, InodeId dir,
                                  std::string_view name) override {
    Count("Unlink");
    return inner_->Unlink(caller, dir, name);
  }
  Result<fs::RemoveResult> Rmdir(const fs::Caller& caller, InodeId dir,
                                 std::string_view name) override {
    Count("Rmdir");
    return inner_->Rmdir(caller, dir, name);
  }
  Result<fs::RenameResult> Rename(const fs::Caller& caller, InodeId from_dir,
                                  std::string_view from_name, InodeId to_dir,
                                  std::string_view to_name, uint32_t flags) override {
    Count("Rename");
    return inner_->Rename(caller, from_dir, from_name, to_dir, to_name, flags);
  }
  Result<fs::ReaddirResult> Readdir(const fs::Caller& caller, InodeId dir, uint64_t cookie,
                                    bool with_attr,
                                    FunctionRef<bool(const fs::DirEntry&)> visitor) override {
    Count("Readdir");
    return inner_->Readdir(caller, dir, cookie, with_attr, visitor);
  }
  Status Fsync(const fs::Caller& caller, InodeId ino, bool data_only) override {
    Count(data_only ? "Fdatasync" : "Fsync");
    if (before_fsync) before_fsync();
    return inner_->Fsync(caller, ino, data_only);
  }
  Status Sync(const fs::Caller& caller) override {
    Count("Sync");
    return inner_->Sync(caller);
  }
  Result<std::string> Getxattr(const fs::Caller& caller, InodeId ino,
                               std::string_view name) override {
    Count("Getxattr");
    return inner_->Getxattr(caller, ino, name);
  }
  Status Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                  std::string_view value, fs::XattrMode mode) override {
    Count("Setxattr");
    return inner_->Setxattr(caller, ino, name, value, mode);
  }
  Result<std::vector<std::string>> Listxattr(const fs::Caller& caller, InodeId ino) override {
    Count("Listxattr");
    return inner_->Listxattr(caller, ino);
  }
  Status Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) override {
    Count("Removexattr");
    return inner_->Removexattr(caller, ino, name);
  }
  Result<fs::Change> Fallocate(const fs::Caller& caller, InodeId ino, fs::FallocateMode mode,
                               uint64_t offset, uint64_t length) override {
    Count("Fallocate");
    return inner_->Fallocate(caller, ino, mode, offset, length);
  }
  Result<uint64_t> Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                        fs::SeekWhence whence) override {
    Count("Seek");
    return inner_->Seek(caller, ino, offset, whence);
  }
  Result<uint64_t> CopyRange(const fs::Caller& caller, InodeId from, uint64_t from_offset,
                             InodeId to, uint64_t to_offset, uint64_t length) override {
    Count("CopyRange");
    return inner_->CopyRange(caller, from, from_offset, to, to_offset, length);
  }
  Status Release(const fs::Caller& caller, InodeId ino) override {
    Count("Release");
    Status status = inner_->Release(caller, ino);
    if (!status) Count("ReleaseFailed");
    std::lock_guard lock(mutex_);
    if (status) released_.insert(ino);
    return status;
  }
  Status Lock(const fs::Caller& caller, const fs::LockArgs& args) override {
    Count(args.type == fs::LockType::kUnlock ? "Unlock" : "Lock");
    return inner_->Lock(caller, args);
  }
  Result<std::optional<fs::LockHolder>> TestLock(const fs::Caller& caller,
                                                 const fs::LockArgs& args) override {
    Count("TestLock");
    return inner_->TestLock(caller, args);
  }
  Status CancelLock(const fs::Caller& caller, uint64_t cookie) override {
    Count("CancelLock");
    return inner_->CancelLock(caller, cookie);
  }
  Status DropLocks(const fs::Caller& caller, InodeId ino, std::string_view prefix) override {
    Count("DropLocks");
    return inner_->DropLocks(caller, ino, prefix);
  }

 private:
  class Filter final : public fs::EventListener {
   public:
    explicit Filter(CountingFileSystem& owner) : owner_(owner) {}
    void OnEvent(const fs::Event& event) override {
      if (!owner_.muted_) owner_.Inject(event);
    }

   private:
    CountingFileSystem& owner_;
  };

  void Count(const std::string& method) {
    std::lock_guard lock(mutex_);
    ++calls_[method];
  }

  std::shared_ptr<fs::FileSystem> inner_;
  mutable std::mutex mutex_;
  std::map<std::string, unsigned> calls_;
  std::set<InodeId> released_;
  fs::WriteArgs last_write_;
  std::atomic<bool> muted_{false};
  fs::EventListener* listener_ = nullptr;
  Filter filter_{*this};
};

}  // namespace prism::mount
