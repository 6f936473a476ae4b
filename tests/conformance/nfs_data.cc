// Attributes and data over NFSv3.
#include <algorithm>
#include <cstring>

#include "tests/conformance/nfs_file_system.h"
#include "tests/nfs/convert.h"

namespace prism::conformance {

using fs::Attr;
using fs::Caller;
using test::AttrFrom;
using test::ChangeFrom;
using test::ErrOfStatus;
using test::HandleOf;

namespace {

// RFC 1813, 3.3.4.
constexpr u_int kAccessRead = 1, kAccessLookup = 2, kAccessModify = 4, kAccessExtend = 8,
                kAccessExecute = 32;
constexpr uint32_t kRead = 4, kWrite = 2, kExecute = 1;

}  // namespace

NfsFileSystem::NfsFileSystem(std::unique_ptr<test::RpcClient> client, std::string root)
    : client_(std::move(client)) {
  Learn(kRootInode, root);
}

void NfsFileSystem::Learn(InodeId ino, const std::string& handle) { handles_[ino] = handle; }

Result<fs::StatfsResult> NfsFileSystem::Statfs(const Caller& caller) {
  FSSTAT3args args = {.fsroot = HandleOf(handles_.at(kRootInode))};
  Err err = Err::kOk;
  fs::StatfsResult result;
  PRISM_TRY(Ask<FSSTAT3res>(caller, rpc_nfs3_fsstat_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const FSSTAT3resok& ok = results.FSSTAT3res_u.resok;
    result.total_bytes = ok.tbytes;
    result.free_bytes = ok.fbytes;
    result.used_bytes = ok.tbytes - ok.fbytes;
    result.files = ok.tfiles - ok.ffiles;
    result.free_files = ok.ffiles;
  }));
  if (err != Err::kOk) return Fail(err);
  return result;
}

Result<Attr> NfsFileSystem::Getattr(const Caller& caller, InodeId ino) {
  PRISM_ASSIGN(const std::string handle, Handle(ino));
  GETATTR3args args = {.object = HandleOf(handle)};
  Err err = Err::kOk;
  Attr attr;
  PRISM_TRY(Ask<GETATTR3res>(caller, rpc_nfs3_getattr_async, args, [&](GETATTR3res& results) {
    err = ErrOfStatus(results.status);
    if (err == Err::kOk) attr = AttrFrom(results.GETATTR3res_u.resok.obj_attributes);
  }));
  if (err != Err::kOk) return Fail(err);
  return attr;
}

Result<fs::Change> NfsFileSystem::Setattr(const Caller& caller, InodeId ino,
                                          const fs::SetAttr& changes) {
  PRISM_ASSIGN(const std::string handle, Handle(ino));
  PRISM_ASSIGN(const Attr before, Getattr(Caller{}, ino));
  SETATTR3args args = {
      .object = HandleOf(handle), .new_attributes = test::SattrOf(changes), .guard = {}};
  if (changes.if_ctime) {
    args.guard.check = 1;
    args.guard.sattrguard3_u.obj_ctime = test::TimeOf(*changes.if_ctime);
  }
  Err err = Err::kOk;
  fs::Change change;
  PRISM_TRY(Ask<SETATTR3res>(caller, rpc_nfs3_setattr_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err == Err::kOk) change = ChangeFrom(results.SETATTR3res_u.resok.obj_wcc, before);
  }));
  if (err != Err::kOk) return Fail(err);
  return change;
}

Result<uint32_t> NfsFileSystem::Access(const Caller& caller, InodeId ino, uint32_t mask) {
  PRISM_ASSIGN(const std::string handle, Handle(ino));
  PRISM_ASSIGN(const Attr attr, Getattr(Caller{}, ino));
  const u_int write = kAccessModify | kAccessExtend;
  const u_int execute = attr.type == fs::FileType::kDirectory ? kAccessLookup : kAccessExecute;
  ACCESS3args args = {.object = HandleOf(handle), .access = 0};
  if (mask & kRead) args.access |= kAccessRead;
  if (mask & kWrite) args.access |= write;
  if (mask & kExecute) args.access |= execute;
  Err err = Err::kOk;
  uint32_t granted = 0;
  PRISM_TRY(Ask<ACCESS3res>(caller, rpc_nfs3_access_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const u_int access = results.ACCESS3res_u.resok.access;
    if (access & ~args.access) err = Err::kProtocol;  // more than was asked for
    if (access & kAccessRead) granted |= kRead;
    if ((access & write) == write) granted |= kWrite;
    if (access & execute) granted |= kExecute;
  }));
  if (err != Err::kOk) return Fail(err);
  return granted;
}

Result<std::string> NfsFileSystem::Readlink(const Caller& caller, InodeId ino) {
  PRISM_ASSIGN(const std::string handle, Handle(ino));
  READLINK3args args = {.symlink = HandleOf(handle)};
  Err err = Err::kOk;
  std::string target;
  PRISM_TRY(Ask<READLINK3res>(caller, rpc_nfs3_readlink_async, args, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err == Err::kOk) target = results.READLINK3res_u.resok.data;
  }));
  if (err != Err::kOk) return Fail(err);
  return target;
}

Result<fs::ReadResult> NfsFileSystem::Read(const Caller& caller, InodeId ino, uint64_t offset,
                                           std::span<std::byte> buffer) {
  PRISM_ASSIGN(const std::string handle, Handle(ino));
  READ3args args = {
      .file = HandleOf(handle), .offset = offset, .count = static_cast<count3>(buffer.size())};
  Err err = Err::kOk;
  fs::ReadResult result;
  PRISM_TRY(Ask<READ3res>(caller, rpc_nfs3_read_async, args, [&](READ3res& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const READ3resok& ok = results.READ3res_u.resok;
    if (ok.count != ok.data.data_len || ok.count > buffer.size()) {
      err = Err::kProtocol;
      return;
    }
    std::memcpy(buffer.data(), ok.data.data_val, ok.count);
    result.length = ok.count;
    result.eof = ok.eof;
    result.attr = AttrFrom(ok.file_attributes).value_or(Attr{});
  }));
  if (err != Err::kOk) return Fail(err);
  return result;
}

Result<fs::WriteResult> NfsFileSystem::Write(const Caller& caller, const fs::WriteArgs& args) {
  if (args.append) return Fail(Err::kNotSupported);
  PRISM_ASSIGN(const std::string handle, Handle(args.ino));
  PRISM_ASSIGN(const Attr before, Getattr(Caller{}, args.ino));
  WRITE3args write = {.file = HandleOf(handle),
                      .offset = args.offset,
                      .count = static_cast<count3>(args.data.size()),
                      .stable = static_cast<stable_how>(args.stability),
                      .data = {}};
  write.data.data_len = write.count;
  write.data.data_val = reinterpret_cast<char*>(const_cast<std::byte*>(args.data.data()));
  Err err = Err::kOk;
  fs::WriteResult result;
  result.offset = args.offset;
  PRISM_TRY(Ask<WRITE3res>(caller, rpc_nfs3_write_async, write, [&](auto& results) {
    err = ErrOfStatus(results.status);
    if (err != Err::kOk) return;
    const WRITE3resok& ok = results.WRITE3res_u.resok;
    result.length = ok.count;
    result.committed = static_cast<fs::Stability>(ok.committed);
    result.change = ChangeFrom(ok.file_wcc, before);
  }));
  if (err != Err::kOk) return Fail(err);
  return result;
}

Status NfsFileSystem::Fsync(const Caller& caller, InodeId ino, bool) {
  PRISM_ASSIGN(const std::string handle, Handle(ino));
  PRISM_ASSIGN(const Attr before, Getattr(caller, ino));
  // What is not data is on disk before the reply.
  if (before.type != fs::FileType::kRegular) return {};
  COMMIT3args args = {.file = HandleOf(handle), .offset = 0, .count = 0};
  Err err = Err::kOk;
  PRISM_TRY(Ask<COMMIT3res>(caller, rpc_nfs3_commit_async, args,
                            [&](auto& results) { err = ErrOfStatus(results.status); }));
  if (err != Err::kOk) return Fail(err);
  return {};
}

Status NfsFileSystem::Sync(const Caller& caller) {
  PRISM_TRY(Statfs(caller));
  return {};
}

Status NfsFileSystem::Release(const Caller& caller, InodeId ino) {
  auto attr = Getattr(caller, ino);
  if (attr) return Fail(Err::kInvalid);
  if (attr.error() != Err::kStale) return Fail(attr.error());
  return {};
}

}  // namespace prism::conformance
