// The oracle: the file-system contract in the plainest way that can be right.
//
// Standard maps, one lock over everything, no sharing between clones, no persistence. Written from
// fs/contract/file_system.h, POSIX and the behaviour of Linux' VFS with ext4, independently of the
// engine, so that a mistake has to be made twice to go unseen. Where the contract is silent the
// choice is written in tests/conformance/README.md.
#pragma once

#include <initializer_list>
#include <memory>
#include <set>

#include "fs/contract/file_system.h"
#include "tests/model/node.h"
#include "tests/model/volume.h"

namespace prism::model {

class ModelFileSystem : public fs::FileSystem {
 public:
  // Made by ModelHost::Attach, which holds the world's lock.
  ModelFileSystem(std::shared_ptr<World> world, std::shared_ptr<Volume> volume);
  ~ModelFileSystem() override;

  // The volume has been rolled back. The world is locked.
  void TreeReplaced();

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
  struct Entry {
    Node* dir = nullptr;
    Node* node = nullptr;  // null: no such name
  };

  // All below need the lock.
  Status Writable() const;
  // None is of a part that must not change. Last of all checks.
  static Status Changeable(std::initializer_list<const Node*> nodes);
  void Accessed(Node& node) const {
    if (!volume_->read_only() && !node.read_only) TouchAccess(node);
  }
  Result<Node*> Find(InodeId ino);
  Result<Node*> FindDirectory(InodeId ino);
  Result<Node*> FindRegular(InodeId ino);
  // The directory, which may be searched, and what the name refers to in it. Checks the name.
  Result<Entry> FindEntry(const fs::Caller& caller, InodeId dir, std::string_view name);
  Result<Entry> FindNewEntry(const fs::Caller& caller, InodeId dir, std::string_view name);
  Status MayRemove(const fs::Caller& caller, const Node& dir, const Node& victim,
                   bool as_directory) const;

  Result<fs::EntryResult> OpenExisting(const fs::Caller& caller, const fs::CreateArgs& args,
                                       Node& dir, Node& node);
  Node NewNode(const fs::Caller& caller, const fs::CreateArgs& args, const Node& dir) const;
  void AddEntry(Node& dir, std::string_view name, Node& node);
  void RemoveEntry(Node& dir, std::string_view name, Node& node);
  Result<fs::RemoveResult> Remove(const fs::Caller& caller, InodeId dir, std::string_view name,
                                  bool as_directory);
  bool IsInside(const Node& inner, const Node& outer);
  Status MayRename(const fs::Caller& caller, const Entry& from, const Entry& to, uint32_t flags);
  void Orphan(Node& node);
  void Forget(InodeId ino);  // frees it when nobody holds it any more

  void GrantLocks();  // to those who can have them now
  void Notify(fs::Event::Kind kind, InodeId ino, std::string_view name = {});

  std::shared_ptr<World> world_;
  std::shared_ptr<Volume> volume_;
  fs::EventListener* listener_ = nullptr;
  std::set<InodeId> held_;
};

}  // namespace prism::model
