// The contract on one volume, for one client: what VolumeCore::Attach returns.
//
// Each operation is in a file of its own (op_*.cc). Those of metadata are one transaction each:
// everything they look at and change is under the volume's lock, nothing waits there for a medium.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fs/core/core_impl.h"
#include "fs/core/directory.h"
#include "fs/core/xattr_items.h"

namespace prism::fs {

class VolumeFs : public FileSystem {
 public:
  VolumeFs(std::shared_ptr<VolumeCore> core, const AttachOptions& options);
  ~VolumeFs() override;

  ClientId id() const { return id_; }

  void SetListener(EventListener* listener) override;
  Result<StatfsResult> Statfs(const Caller& caller) override;
  Result<EntryResult> Lookup(const Caller& caller, InodeId dir, std::string_view name) override;
  Result<Attr> Getattr(const Caller& caller, InodeId ino) override;
  Result<Change> Setattr(const Caller& caller, InodeId ino, const SetAttr& changes) override;
  Result<uint32_t> Access(const Caller& caller, InodeId ino, uint32_t mask) override;
  Result<std::string> Readlink(const Caller& caller, InodeId ino) override;
  Result<ReadResult> Read(const Caller& caller, InodeId ino, uint64_t offset,
                          std::span<std::byte> buffer) override;
  Result<KeptRead> ReadKept(const Caller& caller, InodeId ino, uint64_t offset,
                            size_t length) override;
  Result<WriteResult> Write(const Caller& caller, const WriteArgs& args) override;
  Result<EntryResult> Create(const Caller& caller, const CreateArgs& args) override;
  Result<EntryResult> Link(const Caller& caller, InodeId ino, InodeId dir,
                           std::string_view name) override;
  Result<RemoveResult> Unlink(const Caller& caller, InodeId dir, std::string_view name) override;
  Result<RemoveResult> Rmdir(const Caller& caller, InodeId dir, std::string_view name) override;
  Result<RenameResult> Rename(const Caller& caller, InodeId from_dir, std::string_view from_name,
                              InodeId to_dir, std::string_view to_name, uint32_t flags) override;
  Result<ReaddirResult> Readdir(const Caller& caller, InodeId dir, uint64_t cookie, bool with_attr,
                                FunctionRef<bool(const DirEntry&)> visitor) override;
  Status Fsync(const Caller& caller, InodeId ino, bool data_only) override;
  Status Sync(const Caller& caller) override;
  Result<std::string> Getxattr(const Caller& caller, InodeId ino, std::string_view name) override;
  Status Setxattr(const Caller& caller, InodeId ino, std::string_view name, std::string_view value,
                  XattrMode mode) override;
  Result<std::vector<std::string>> Listxattr(const Caller& caller, InodeId ino) override;
  Status Removexattr(const Caller& caller, InodeId ino, std::string_view name) override;
  Result<Change> Fallocate(const Caller& caller, InodeId ino, FallocateMode mode, uint64_t offset,
                           uint64_t length) override;
  Result<uint64_t> Seek(const Caller& caller, InodeId ino, uint64_t offset,
                        SeekWhence whence) override;
  Result<uint64_t> CopyRange(const Caller& caller, InodeId from, uint64_t from_offset, InodeId to,
                             uint64_t to_offset, uint64_t length) override;
  Status Release(const Caller& caller, InodeId ino) override;
  Result<InodeId> FindDone(const RequestId& request) override;
  Status AnswerBarrier(const Caller& caller, uint64_t cookie, bool written) override;
  Status Lock(const Caller& caller, const LockArgs& args) override;
  Result<std::optional<LockHolder>> TestLock(const Caller& caller, const LockArgs& args) override;
  Status CancelLock(const Caller& caller, uint64_t cookie) override;
  Status DropLocks(const Caller& caller, InodeId ino, std::string_view owner_prefix) override;

 private:
  using Transaction = std::unique_ptr<cow::WriteTransaction>;

  // volume_fs.cc
  Status Alive() const;     // kStale: the volume is gone
  Status Writable() const;  // or kReadOnly
  Status Writable(InodeId ino) const;
  Result<InodeRecord> Load(const cow::ReadView& view, InodeId ino) const;
  Result<InodeRecord> LoadDirectory(const cow::ReadView& view, InodeId ino) const;
  // What a commit is about, besides its items.
  struct CommitNote {
    const RequestId* request = nullptr;  // to be noted as done
    InodeId ino = 0;                     // what the request was about
    InodeId orphan = 0;  // an inode whose holders have been registered and are not, should it fail
  };
  Status Commit(Transaction transaction, const CommitNote& note);
  // kIsDirectory or kInvalid for what is not a regular file.
  static Status RequireRegular(const InodeRecord& record);
  // Checks for reading or writing a body.
  Status RequireBody(const cow::ReadView& view, const Caller& caller, const InodeRecord& record,
                     uint32_t want) const;

  // op_create.cc
  struct NewInode;
  Result<EntryResult> OpenExisting(const Caller& caller, const CreateArgs& args,
                                   const InodeRecord& dir, const FoundEntry& found,
                                   Transaction transaction);
  Status DecideModeAndOwner(const cow::ReadView& view, const Caller& caller, const CreateArgs& args,
                            const InodeRecord& dir, NewInode& made);
  Status PutNewInode(cow::WriteTransaction& transaction, const CreateArgs& args,
                     const ComposedBlock& block, NewInode& made);

  // op_remove.cc
  Result<RemoveResult> Remove(const Caller& caller, InodeId dir, std::string_view name,
                              bool directory);

  // op_rename.cc
  struct RenameState;
  Status CheckRename(const Caller& caller, RenameState& state);
  Status CheckReplaced(const RenameState& state);
  Status CheckCycle(const RenameState& state);
  Status MoveEntries(RenameState& state);
  Status ExchangeEntries(RenameState& state);
  Status FlushBeforeReplacing(InodeId from_dir, std::string_view from_name, InodeId to_dir,
                              std::string_view to_name);

  // op_setattr.cc. What `changes` says, but for size; the caller has been checked.
  Status ApplyAttr(cow::WriteTransaction& transaction, InodeRecord& record, const SetAttr& changes,
                   const Timespec& now);
  Status SetMode(cow::WriteTransaction& transaction, InodeRecord& record, uint32_t mode);
  Status CheckSetattr(const cow::ReadView& view, const Caller& caller, const InodeRecord& record,
                      SetAttr& changes);

  // op_body.cc
  Result<uint64_t> CopyBytes(const Caller& caller, InodeId from, uint64_t from_offset, InodeId to,
                             uint64_t to_offset, uint64_t length);

  // op_lock.cc
  void TellGrants(const LockTable::Grants& grants);
  Status MayLock(const Caller& caller, InodeId ino, LockType type) const;

  // op_xattr.cc. One attribute, its name checked; keeps mode and access ACL in step.
  Status StoreXattr(cow::WriteTransaction& transaction, InodeRecord& record, std::string_view name,
                    std::string_view value);

  const std::shared_ptr<VolumeCore> core_;
  VolumeCore::Impl& impl_;
  const bool holds_orphans_;
  const ClientId id_;
};

}  // namespace prism::fs
