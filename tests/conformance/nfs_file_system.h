// The contract spoken in NFSv3: each operation is the procedure that a client would call for it.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fs/contract/file_system.h"
#include "tests/nfs/rpc_client.h"

namespace prism::conformance {

// An inode is a file handle, learnt from a name; one whose name was not seen is looked for in the
// whole volume. `before` of a Change is asked for by GETATTR, and what wcc_data says of it (size,
// mtime, ctime) is put in its place, so that a wrong one is seen. Over NFS every caller is checked.
// What NFSv3 has no procedure for is kNotSupported.
// THREADS: one.
class NfsFileSystem final : public fs::FileSystem {
 public:
  // root: the handle of the volume's root.
  NfsFileSystem(std::unique_ptr<test::RpcClient> client, std::string root);

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
  Result<std::string> Getxattr(const fs::Caller&, InodeId, std::string_view) override {
    return Fail(Err::kNotSupported);
  }
  Status Setxattr(const fs::Caller&, InodeId, std::string_view, std::string_view,
                  fs::XattrMode) override {
    return Fail(Err::kNotSupported);
  }
  Result<std::vector<std::string>> Listxattr(const fs::Caller&, InodeId) override {
    return Fail(Err::kNotSupported);
  }
  Status Removexattr(const fs::Caller&, InodeId, std::string_view) override {
    return Fail(Err::kNotSupported);
  }
  Result<fs::Change> Fallocate(const fs::Caller&, InodeId, fs::FallocateMode, uint64_t,
                               uint64_t) override {
    return Fail(Err::kNotSupported);
  }
  Result<uint64_t> Seek(const fs::Caller&, InodeId, uint64_t, fs::SeekWhence) override {
    return Fail(Err::kNotSupported);
  }
  Result<uint64_t> CopyRange(const fs::Caller&, InodeId, uint64_t, InodeId, uint64_t,
                             uint64_t) override {
    return Fail(Err::kNotSupported);
  }
  // Nobody holds an orphan over NFS: Ok once it is stale.
  Status Release(const fs::Caller& caller, InodeId ino) override;

 private:
  struct Listed {
    InodeId ino = 0;
    uint64_t cookie = 0;
    std::string name;
    std::optional<fs::Attr> attr;
    std::string handle;  // empty: not said
  };
  struct Page {
    std::vector<Listed> entries;
    bool eof = false;
    std::optional<fs::Attr> dir;
  };
  struct Made {  // what CREATE, MKDIR, MKNOD and SYMLINK answer alike
    nfsstat3 status = NFS3_OK;
    std::string handle;
    std::optional<fs::Attr> attr;
    wcc_data dir = {};
  };

  // One call as this caller. kDisconnected, kTimedOut, kProtocol: of the RPC itself.
  template <typename Results, typename Arguments>
  Status Ask(const fs::Caller& caller, int (*start)(rpc_context*, rpc_cb, Arguments*, void*),
             Arguments& arguments, FunctionRef<void(Results&)> take) {
    client_->Become({.uid = caller.uid, .gid = caller.gid, .groups = caller.groups});
    auto outcome = client_->CallWith<Arguments, Results>(start, arguments, take);
    if (!outcome) return Fail(outcome.error().code);
    return {};
  }
  Result<Made> Make(const fs::Caller& caller, const fs::CreateArgs& args, const diropargs3& where);
  Result<std::string> Handle(InodeId ino);
  void Learn(InodeId ino, const std::string& handle);
  Result<Page> List(const fs::Caller& caller, const std::string& dir, uint64_t cookie);
  Result<Page> ListPlus(const fs::Caller& caller, const std::string& dir, uint64_t cookie);
  // The attributes now, or the old ones with nlink 0 where it is gone.
  fs::Attr AttrAfter(const fs::Attr& before);

  std::unique_ptr<test::RpcClient> client_;
  std::unordered_map<InodeId, std::string> handles_;
  std::map<std::string, std::string> verifiers_;  // of the listings of directories
};

}  // namespace prism::conformance
