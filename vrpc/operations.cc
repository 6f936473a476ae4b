#include "vrpc/operations.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "vrpc/ring.h"

namespace prism::vrpc {
namespace {

// kProtocol: not a request; kInvalid: one with a value that does not exist.
template <typename Request>
Status Parse(const ServeContext& c, Request& request) {
  Decoder decoder(c.body);
  decoder.Get(request);
  if (!decoder.Complete()) return Fail(Err::kProtocol);
  if (!decoder.Finished()) return Fail(Err::kInvalid);
  return {};
}

// VRPC_PARSE(type, request): the request, or the handler is over.
#define VRPC_PARSE(type, request) \
  type request;                   \
  if (Status parsed = Parse(c, request); !parsed) return parsed.error()

template <typename T>
Err Answer(ServeContext& c, const Result<T>& result) {
  if (!result) return result.error();
  Encoder(c.reply).Put(*result);
  return Err::kOk;
}
Err Answer(ServeContext&, const Status& status) { return status ? Err::kOk : status.error(); }

// Modes beyond the permission bits would come back in attributes that no client accepts.
bool ModesAreValid(const fs::SetAttr& changes, uint32_t mode = 0) {
  return ((changes.mode.value_or(0) | mode) & ~uint32_t{07777}) == 0;
}

// The request's payload, fetched once into private memory.
std::string_view FetchPayload(ServeContext& c) {
  c.scratch.resize(c.payload_bytes);
  FetchOnce(c.scratch.data(), c.payload.data(), c.payload_bytes);
  return c.scratch;
}

// Private bytes as the reply's payload.
Err AnswerPayload(ServeContext& c, std::string_view bytes) {
  if (bytes.size() > c.payload.size()) return Err::kTooBig;
  std::memcpy(c.payload.data(), bytes.data(), bytes.size());
  c.reply_payload_bytes = static_cast<uint32_t>(bytes.size());
  return Err::kOk;
}

Err ServeNull(ServeContext& c) {
  VRPC_PARSE(Nothing, request);
  return Err::kOk;
}

Err ServeStatfs(ServeContext& c) {
  VRPC_PARSE(Nothing, request);
  return Answer(c, c.fs.Statfs(c.caller));
}

Err ServeLookup(ServeContext& c) {
  VRPC_PARSE(NameRequest, request);
  return Answer(c, c.fs.Lookup(c.caller, request.ino, request.name));
}

Err ServeGetattr(ServeContext& c) {
  VRPC_PARSE(InoRequest, request);
  return Answer(c, c.fs.Getattr(c.caller, request.ino));
}

Err ServeSetattr(ServeContext& c) {
  VRPC_PARSE(SetattrRequest, request);
  if (!ModesAreValid(request.changes)) return Err::kInvalid;
  return Answer(c, c.fs.Setattr(c.caller, request.ino, request.changes));
}

Err ServeAccess(ServeContext& c) {
  VRPC_PARSE(AccessRequest, request);
  Result<uint32_t> granted = c.fs.Access(c.caller, request.ino, request.mask);
  if (!granted) return granted.error();
  Encoder(c.reply).Put(AccessReply{*granted});
  return Err::kOk;
}

Err ServeReadlink(ServeContext& c) {
  VRPC_PARSE(InoRequest, request);
  Result<std::string> target = c.fs.Readlink(c.caller, request.ino);
  if (!target) return target.error();
  if (target->size() > fs::kSymlinkMax) return Err::kCorrupt;
  Encoder(c.reply).Put(ReadlinkReply{std::move(*target)});
  return Err::kOk;
}

Err ServeRead(ServeContext& c) {
  VRPC_PARSE(ReadRequest, request);
  if (request.length > c.payload.size()) return Err::kProtocol;
  auto buffer = c.payload.first(std::min<size_t>(request.length, fs::kIoMax));
  Result<fs::ReadResult> result = c.fs.Read(c.caller, request.ino, request.offset, buffer);
  if (!result) return result.error();
  if (result->length > buffer.size()) return Err::kIo;
  c.reply_payload_bytes = result->length;
  return Answer(c, result);
}

Err ServeWrite(ServeContext& c) {
  VRPC_PARSE(WriteRequest, request);
  if (c.payload_bytes > fs::kIoMax) return Err::kProtocol;
  return Answer(c, c.fs.Write(c.caller, {.ino = request.ino,
                                         .offset = request.offset,
                                         .data = c.payload.first(c.payload_bytes),
                                         .append = request.append,
                                         .append_at = request.append_at,
                                         .stability = request.stability,
                                         .kill_privileges = request.kill_privileges}));
}

Err ServeCreate(ServeContext& c) {
  VRPC_PARSE(CreateRequest, request);
  if (request.data_bytes > c.payload_bytes) return Err::kProtocol;
  if (!ModesAreValid(request.initial, request.mode)) return Err::kInvalid;
  std::string_view payload = FetchPayload(c);
  std::vector<fs::Xattr> xattrs;
  if (!ReadXattrs(payload.substr(request.data_bytes), request.xattr_count, xattrs))
    return Err::kProtocol;
  auto data = std::as_bytes(std::span(payload.data(), request.data_bytes));
  return Answer(c, c.fs.Create(c.caller, {.parent = request.parent,
                                          .name = request.name,
                                          .type = request.type,
                                          .mode = request.mode,
                                          .umask = request.umask,
                                          .rdev_major = request.rdev_major,
                                          .rdev_minor = request.rdev_minor,
                                          .symlink_target = request.symlink_target,
                                          .exclusivity = request.exclusivity,
                                          .verifier = request.verifier,
                                          .initial = request.initial,
                                          .data = data,
                                          .xattrs = xattrs}));
}

Err ServeLink(ServeContext& c) {
  VRPC_PARSE(LinkRequest, request);
  return Answer(c, c.fs.Link(c.caller, request.ino, request.dir, request.name));
}

Err ServeUnlink(ServeContext& c) {
  VRPC_PARSE(NameRequest, request);
  return Answer(c, c.fs.Unlink(c.caller, request.ino, request.name));
}

Err ServeRmdir(ServeContext& c) {
  VRPC_PARSE(NameRequest, request);
  return Answer(c, c.fs.Rmdir(c.caller, request.ino, request.name));
}

Err ServeRename(ServeContext& c) {
  VRPC_PARSE(RenameRequest, request);
  return Answer(c, c.fs.Rename(c.caller, request.from_dir, request.from_name, request.to_dir,
                               request.to_name, request.flags));
}

Err ServeReaddir(ServeContext& c) {
  VRPC_PARSE(ReaddirRequest, request);
  if (request.entries_max == 0 || request.bytes_max < kDirEntryBytesMax ||
      request.bytes_max > c.payload.size())
    return Err::kProtocol;
  ReaddirReply reply;
  bool cut = false;
  std::string& bytes = c.scratch;
  auto visit = [&](const fs::DirEntry& entry) {
    if (reply.entries == request.entries_max ||
        bytes.size() + kDirEntryBytesMax > request.bytes_max) {
      cut = true;
      return false;
    }
    AppendDirEntry(bytes, entry);
    ++reply.entries;
    return true;
  };
  Result<fs::ReaddirResult> result =
      c.fs.Readdir(c.caller, request.dir, request.cookie, request.with_attr, visit);
  if (!result) return result.error();
  reply.eof = result->eof && !cut;
  reply.dir = result->dir;
  Encoder(c.reply).Put(reply);
  return AnswerPayload(c, bytes);
}

Err ServeFsync(ServeContext& c) {
  VRPC_PARSE(FsyncRequest, request);
  return Answer(c, c.fs.Fsync(c.caller, request.ino, request.data_only));
}

Err ServeSync(ServeContext& c) {
  VRPC_PARSE(Nothing, request);
  return Answer(c, c.fs.Sync(c.caller));
}

Err ServeGetxattr(ServeContext& c) {
  VRPC_PARSE(NameRequest, request);
  Result<std::string> value = c.fs.Getxattr(c.caller, request.ino, request.name);
  return value ? AnswerPayload(c, *value) : value.error();
}

Err ServeSetxattr(ServeContext& c) {
  VRPC_PARSE(SetxattrRequest, request);
  return Answer(c,
                c.fs.Setxattr(c.caller, request.ino, request.name, FetchPayload(c), request.mode));
}

Err ServeListxattr(ServeContext& c) {
  VRPC_PARSE(InoRequest, request);
  Result<std::vector<std::string>> names = c.fs.Listxattr(c.caller, request.ino);
  if (!names) return names.error();
  AppendNames(c.scratch, *names);
  Encoder(c.reply).Put(ListxattrReply{static_cast<uint32_t>(names->size())});
  return AnswerPayload(c, c.scratch);
}

Err ServeRemovexattr(ServeContext& c) {
  VRPC_PARSE(NameRequest, request);
  return Answer(c, c.fs.Removexattr(c.caller, request.ino, request.name));
}

Err ServeFallocate(ServeContext& c) {
  VRPC_PARSE(FallocateRequest, request);
  return Answer(
      c, c.fs.Fallocate(c.caller, request.ino, request.mode, request.offset, request.length));
}

Err ServeSeek(ServeContext& c) {
  VRPC_PARSE(SeekRequest, request);
  Result<uint64_t> found = c.fs.Seek(c.caller, request.ino, request.offset, request.whence);
  if (!found) return found.error();
  Encoder(c.reply).Put(OffsetReply{*found});
  return Err::kOk;
}

Err ServeCopyRange(ServeContext& c) {
  VRPC_PARSE(CopyRangeRequest, request);
  Result<uint64_t> copied = c.fs.CopyRange(c.caller, request.from, request.from_offset, request.to,
                                           request.to_offset, request.length);
  if (!copied) return copied.error();
  Encoder(c.reply).Put(OffsetReply{*copied});
  return Err::kOk;
}

Err ServeRelease(ServeContext& c) {
  VRPC_PARSE(InoRequest, request);
  return Answer(c, c.fs.Release(c.caller, request.ino));
}

Err ServeLock(ServeContext& c) {
  VRPC_PARSE(LockRequest, request);
  return Answer(c, c.fs.Lock(c.caller, request.args));
}

Err ServeTestLock(ServeContext& c) {
  VRPC_PARSE(LockRequest, request);
  Result<std::optional<fs::LockHolder>> holder = c.fs.TestLock(c.caller, request.args);
  if (!holder) return holder.error();
  Encoder(c.reply).Put(TestLockReply{std::move(*holder)});
  return Err::kOk;
}

Err ServeCancelLock(ServeContext& c) {
  VRPC_PARSE(CancelLockRequest, request);
  return Answer(c, c.fs.CancelLock(c.caller, request.cookie));
}

Err ServeDropLocks(ServeContext& c) {
  VRPC_PARSE(DropLocksRequest, request);
  return Answer(c, c.fs.DropLocks(c.caller, request.ino, request.owner_prefix));
}

Err ServeFindDone(ServeContext& c) {
  VRPC_PARSE(FindDoneRequest, request);
  Result<InodeId> done =
      c.fs.FindDone({.client = c.request.client, .number = request.number, .checksum = 0});
  if (!done) return done.error();
  Encoder(c.reply).Put(FindDoneReply{*done});
  return Err::kOk;
}

Err ServeAnswerBarrier(ServeContext& c) {
  VRPC_PARSE(AnswerBarrierRequest, request);
  return Answer(c, c.fs.AnswerBarrier(c.caller, request.cookie, request.written));
}

constexpr std::array<OperationRow, kOpCount> kOperations = {{
    {Op::kNull, "null", ServeNull},
    {Op::kStatfs, "statfs", ServeStatfs},
    {Op::kLookup, "lookup", ServeLookup},
    {Op::kGetattr, "getattr", ServeGetattr},
    {Op::kSetattr, "setattr", ServeSetattr},
    {Op::kAccess, "access", ServeAccess},
    {Op::kReadlink, "readlink", ServeReadlink},
    {Op::kRead, "read", ServeRead},
    {Op::kWrite, "write", ServeWrite},
    {Op::kCreate, "create", ServeCreate},
    {Op::kLink, "link", ServeLink},
    {Op::kUnlink, "unlink", ServeUnlink},
    {Op::kRmdir, "rmdir", ServeRmdir},
    {Op::kRename, "rename", ServeRename},
    {Op::kReaddir, "readdir", ServeReaddir},
    {Op::kFsync, "fsync", ServeFsync},
    {Op::kSync, "sync", ServeSync},
    {Op::kGetxattr, "getxattr", ServeGetxattr},
    {Op::kSetxattr, "setxattr", ServeSetxattr},
    {Op::kListxattr, "listxattr", ServeListxattr},
    {Op::kRemovexattr, "removexattr", ServeRemovexattr},
    {Op::kFallocate, "fallocate", ServeFallocate},
    {Op::kSeek, "seek", ServeSeek},
    {Op::kCopyRange, "copy_range", ServeCopyRange},
    {Op::kRelease, "release", ServeRelease},
    {Op::kLock, "lock", ServeLock},
    {Op::kTestLock, "test_lock", ServeTestLock},
    {Op::kCancelLock, "cancel_lock", ServeCancelLock},
    {Op::kDropLocks, "drop_locks", ServeDropLocks},
    {Op::kFindDone, "find_done", ServeFindDone},
    {Op::kAnswerBarrier, "answer_barrier", ServeAnswerBarrier},
}};

constexpr bool RowsAreInOrder() {
  for (size_t i = 0; i < kOperations.size(); ++i)
    if (kOperations[i].op != static_cast<Op>(i)) return false;
  return true;
}
static_assert(RowsAreInOrder());

}  // namespace

const OperationRow* FindOperation(uint16_t op) {
  return op < kOperations.size() ? &kOperations[op] : nullptr;
}

const char* NameOfOp(uint16_t op) {
  const OperationRow* row = FindOperation(op);
  return row != nullptr ? row->name : "unknown";
}

}  // namespace prism::vrpc
