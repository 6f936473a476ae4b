// A file system as seen from one of its directories, whose number and the root's change places.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fs/contract/file_system.h"

namespace prism::conformance {

class RootedFileSystem final : public fs::FileSystem, private fs::EventListener {
 public:
  using Caller = fs::Caller;
  RootedFileSystem(std::shared_ptr<fs::FileSystem> inner, InodeId root)
      : root_(root), inner_(std::move(inner)) {}

  void SetListener(fs::EventListener* listener) override {
    if (listener != nullptr) listener_ = listener;
    inner_->SetListener(listener == nullptr ? nullptr : this);
  }
  Result<fs::StatfsResult> Statfs(const Caller& c) override {
    Result<fs::StatfsResult> usage = inner_->Statfs(c);
    if (usage) --usage->files;  // the volume's own root is not seen
    return usage;
  }
  Result<fs::EntryResult> Lookup(const Caller& c, InodeId dir, std::string_view name) override {
    return Out(inner_->Lookup(c, Swap(dir), dir == kRootInode && name == ".." ? "." : name));
  }
  Result<fs::Attr> Getattr(const Caller& c, InodeId ino) override {
    return Out(inner_->Getattr(c, Swap(ino)));
  }
  Result<fs::Change> Setattr(const Caller& c, InodeId ino, const fs::SetAttr& changes) override {
    return Out(inner_->Setattr(c, Swap(ino), changes));
  }
  Result<uint32_t> Access(const Caller& c, InodeId ino, uint32_t mask) override {
    return inner_->Access(c, Swap(ino), mask);
  }
  Result<std::string> Readlink(const Caller& c, InodeId ino) override {
    return inner_->Readlink(c, Swap(ino));
  }
  Result<fs::ReadResult> Read(const Caller& c, InodeId ino, uint64_t offset,
                              std::span<std::byte> buffer) override {
    return Out(inner_->Read(c, Swap(ino), offset, buffer));
  }
  Result<fs::WriteResult> Write(const Caller& c, const fs::WriteArgs& args) override {
    fs::WriteArgs there = args;
    there.ino = Swap(args.ino);
    return Out(inner_->Write(c, there));
  }
  Result<fs::EntryResult> Create(const Caller& c, const fs::CreateArgs& args) override {
    fs::CreateArgs there = args;
    there.parent = Swap(args.parent);
    return Out(inner_->Create(c, there));
  }
  Result<fs::EntryResult> Link(const Caller& c, InodeId ino, InodeId dir,
                               std::string_view name) override {
    return Out(inner_->Link(c, Swap(ino), Swap(dir), name));
  }
  Result<fs::RemoveResult> Unlink(const Caller& c, InodeId dir, std::string_view name) override {
    return Out(inner_->Unlink(c, Swap(dir), name));
  }
  Result<fs::RemoveResult> Rmdir(const Caller& c, InodeId dir, std::string_view name) override {
    return Out(inner_->Rmdir(c, Swap(dir), name));
  }
  Result<fs::RenameResult> Rename(const Caller& c, InodeId from_dir, std::string_view from_name,
                                  InodeId to_dir, std::string_view to_name,
                                  uint32_t flags) override {
    return Out(inner_->Rename(c, Swap(from_dir), from_name, Swap(to_dir), to_name, flags));
  }
  Result<fs::ReaddirResult> Readdir(const Caller& c, InodeId dir, uint64_t cookie, bool with_attr,
                                    FunctionRef<bool(const fs::DirEntry&)> visitor) override {
    return Out(inner_->Readdir(c, Swap(dir), cookie, with_attr, visitor));
  }
  Status Fsync(const Caller& c, InodeId ino, bool data_only) override {
    return inner_->Fsync(c, Swap(ino), data_only);
  }
  Status Sync(const Caller& c) override { return inner_->Sync(c); }
  Result<std::string> Getxattr(const Caller& c, InodeId ino, std::string_view name) override {
    return inner_->Getxattr(c, Swap(ino), name);
  }
  Status Setxattr(const Caller& c, InodeId ino, std::string_view name, std::string_view value,
                  fs::XattrMode mode) override {
    return inner_->Setxattr(c, Swap(ino), name, value, mode);
  }
  Result<std::vector<std::string>> Listxattr(const Caller& c, InodeId ino) override {
    return inner_->Listxattr(c, Swap(ino));
  }
  Status Removexattr(const Caller& c, InodeId ino, std::string_view name) override {
    return inner_->Removexattr(c, Swap(ino), name);
  }
  Result<fs::Change> Fallocate(const Caller& c, InodeId ino, fs::FallocateMode mode,
                               uint64_t offset, uint64_t length) override {
    return Out(inner_->Fallocate(c, Swap(ino), mode, offset, length));
  }
  Result<uint64_t> Seek(const Caller& c, InodeId ino, uint64_t offset,
                        fs::SeekWhence whence) override {
    return inner_->Seek(c, Swap(ino), offset, whence);
  }
  Result<uint64_t> CopyRange(const Caller& c, InodeId from, uint64_t from_offset, InodeId to,
                             uint64_t to_offset, uint64_t length) override {
    return inner_->CopyRange(c, Swap(from), from_offset, Swap(to), to_offset, length);
  }
  Status Release(const Caller& c, InodeId ino) override { return inner_->Release(c, Swap(ino)); }
  Result<InodeId> FindDone(const fs::RequestId& request) override {
    return Out(inner_->FindDone(request));
  }
  Status Lock(const Caller& c, const fs::LockArgs& args) override {
    return inner_->Lock(c, There(args));
  }
  Result<std::optional<fs::LockHolder>> TestLock(const Caller& c,
                                                 const fs::LockArgs& args) override {
    return inner_->TestLock(c, There(args));
  }
  Status CancelLock(const Caller& c, uint64_t cookie) override {
    return inner_->CancelLock(c, cookie);
  }
  Status DropLocks(const Caller& c, InodeId ino, std::string_view owner_prefix) override {
    return inner_->DropLocks(c, Swap(ino), owner_prefix);
  }

 private:
  InodeId Swap(InodeId ino) const {
    if (ino == kRootInode) return root_;
    return ino == root_ ? kRootInode : ino;
  }
  fs::LockArgs There(fs::LockArgs args) const {
    args.ino = Swap(args.ino);
    return args;
  }
  void Move(InodeId& ino) const { ino = Swap(ino); }
  void Move(fs::Attr& attr) const { Move(attr.ino); }
  void Move(fs::Change& change) const {
    Move(change.before);
    Move(change.after);
  }
  void Move(fs::ReadResult& result) const { Move(result.attr); }
  void Move(fs::WriteResult& result) const { Move(result.change); }
  void Move(fs::ReaddirResult& result) const { Move(result.dir); }
  void Move(fs::EntryResult& result) const {
    Move(result.attr);
    Move(result.parent);
  }
  void Move(fs::RemoveResult& result) const {
    Move(result.removed);
    Move(result.parent);
  }
  void Move(fs::RenameResult& result) const {
    Move(result.from_parent);
    Move(result.to_parent);
    Move(result.moved);
    if (result.replaced) Move(*result.replaced);
  }
  template <typename T>
  Result<T> Out(Result<T> result) const {
    if (result) Move(*result);
    return result;
  }
  void OnEvent(const fs::Event& event) override {
    fs::Event here = event;
    Move(here.ino);
    listener_.load()->OnEvent(here);
  }

  const InodeId root_;
  std::atomic<fs::EventListener*> listener_{nullptr};
  const std::shared_ptr<fs::FileSystem> inner_;
};

}  // namespace prism::conformance
