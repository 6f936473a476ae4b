// The contract spoken through a mount: each operation is the system calls that a process would make
// for it, so that the kernel's FUSE driver and fs/mount are between the suite and the engine.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "fs/contract/file_system.h"
#include "fs/base/unique_fd.h"

namespace prism::conformance {

// An inode is an O_PATH descriptor of it: learnt from a name, or by its number as a file handle.
// The descriptors stay until Release or destruction; thus an unlinked file lives on as one that is
// open.
//
// What the suite calls one operation may be several system calls here: `before` and `after` are
// statx before and after, a Create with initial state is made and then furnished.
// REQUIRES: root.
class MountedFileSystem final : public fs::FileSystem {
 public:
  // Returns when the file system behind the mount has been told that `ino` is not used any more.
  using AwaitRelease = std::function<bool(InodeId ino)>;

  MountedFileSystem(const std::string& directory, AwaitRelease await_release);

  void SetListener(fs::EventListener*) override {}  // see Feature::kEvents
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

 private:
  // The descriptor of an inode that is known, or can be opened by its number.
  Result<int> FdOf(InodeId ino);
  // Keeps the descriptor; its inode's attributes.
  Result<fs::Attr> Keep(UniqueFd fd);
  // The file that a name refers to, looked up as root.
  Result<fs::Attr> KeepNamed(int dir, std::string_view name);
  Result<fs::RemoveResult> Remove(const fs::Caller& caller, InodeId dir, std::string_view name,
                                  int flags);
  // Of the one that Create has just made, as root.
  Status Furnish(InodeId ino, const fs::CreateArgs& args);

  UniqueFd root_;
  AwaitRelease await_release_;
  std::mutex mutex_;
  std::unordered_map<InodeId, UniqueFd> inodes_;
};

// Shared by the parts of the implementation.

inline tl::unexpected<Err> FailErrno() { return Fail(ErrFromErrno(errno)); }
Result<fs::Attr> AttrOf(int fd);
// The name by which a descriptor's file can be opened or changed, whatever was opened with O_PATH.
std::string PathOf(int fd);
// Opens a file that is known by an O_PATH descriptor, with the calling thread's permissions.
Result<UniqueFd> Reopen(int fd, int flags);

}  // namespace prism::conformance
