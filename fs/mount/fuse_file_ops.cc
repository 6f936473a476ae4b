#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "fs/mount/fuse_ops.h"
#include "fs/mount/fuse_reply.h"
#include "fs/mount/worker.h"

namespace prism::mount {
namespace {

void ReplyBytes(fuse_req_t req, std::span<const std::byte> bytes) {
  fuse_reply_buf(req, reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

// The kernel takes a short reply for the end of the file, and lowers its idea of the size: asks
// until there is all, or the end.
void ReadInParts(fuse_req_t req, InodeId ino, std::span<std::byte> buffer, uint64_t offset) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    auto result =
        ContextOf(req).fs.Read(CallerOf(req), ino, offset + filled, buffer.subspan(filled));
    if (!result) return ReplyError(req, result.error());
    if (result->length > buffer.size() - filled) return ReplyError(req, Err::kProtocol);
    filled += result->length;
    if (result->eof || result->length == 0) break;
  }
  ReplyBytes(req, buffer.first(filled));
}

// From here on it pays to hold a queue of the channel while the kernel copies; below it, the next
// request should find that queue free.
constexpr size_t kInPlaceBytes = 64 * 1024;

// The kernel copies much from where the bytes are.
void Read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  std::span<std::byte> buffer = Worker::Current()->io_buffer();
  buffer = buffer.first(std::min(size, buffer.size()));
  if (size < kInPlaceBytes) return ReadInParts(req, ino, buffer, static_cast<uint64_t>(offset));
  bool replied = false;
  auto reply = [&](const fs::ReadResult& result, std::span<const std::byte> bytes) {
    replied = bytes.size() == buffer.size() || result.eof;
    if (replied) ReplyBytes(req, bytes);
  };
  auto result = ContextOf(req).fs.ReadInPlace(CallerOf(req), ino, static_cast<uint64_t>(offset),
                                              buffer.size(), reply);
  if (!result) return ReplyError(req, result.error());
  if (!replied) ReadInParts(req, ino, buffer, static_cast<uint64_t>(offset));
}

// Buffered writes with O_SYNC are followed by an FSYNC of the kernel's, which makes them stable at
// once for many requests; direct ones, when asynchronous, are not.
fs::Stability StabilityOf(const fuse_file_info& info) {
  if (!(info.flags & O_DIRECT)) return fs::Stability::kUnstable;
  if ((info.flags & O_SYNC) == O_SYNC) return fs::Stability::kFileSync;
  if (info.flags & O_DSYNC) return fs::Stability::kDataSync;
  return fs::Stability::kUnstable;
}

void Write(fuse_req_t req, fuse_ino_t ino, const char* data, size_t size, off_t offset,
           fuse_file_info* info) {
  MountContext& context = ContextOf(req);
  fs::WriteArgs args{.ino = ino, .offset = static_cast<uint64_t>(offset)};
  args.data = std::as_bytes(std::span(data, size));
  args.stability = StabilityOf(*info);
  args.kill_privileges = Worker::Current()->facts().kill_privileges;
  // The end of the file is where the server says. Not for direct writes, whose parts the kernel may
  // send at once and in any order, nor for pages written back.
  args.append = (info->flags & O_APPEND) && !(info->flags & O_DIRECT) && !info->writepage;
  auto result = context.fs.Write(CallerOf(req), args);
  if (!result && info->writepage) ++context.failed_writebacks;
  if (!result) return ReplyError(req, result.error());
  if (result->length > size) return ReplyError(req, Err::kProtocol);
  // Another mount has appended meanwhile: the kernel has cached the bytes where it thought they
  // went.
  if (result->offset != args.offset)
    context.invalidator.OnEvent(fs::Event{.kind = fs::Event::Kind::kInode, .ino = ino});
  fuse_reply_write(req, result->length);
}

void Fsync(fuse_req_t req, fuse_ino_t ino, int data_only, fuse_file_info*) {
  ContextOf(req).helpers.Run([req, ino, data_only] {
    ReplyStatus(req, ContextOf(req).fs.Fsync(CallerOf(req), ino, data_only != 0));
  });
}

// The kernel says on which writes to clear the set-id bits, but not on these two.
Status KillPrivileges(fuse_req_t req, InodeId ino) {
  fs::Caller caller = CallerOf(req);
  if (caller.uid == 0) return {};
  fs::SetAttr changes{.kill_privileges = true};
  PRISM_TRY(ContextOf(req).fs.Setattr(caller, ino, changes));
  return {};
}

Result<fs::FallocateMode> ModeOf(int flags) {
  switch (flags) {
    case 0:
      return fs::FallocateMode::kAllocate;
    case FALLOC_FL_KEEP_SIZE:
      return fs::FallocateMode::kAllocateKeep;
    case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
      return fs::FallocateMode::kPunchHole;
    case FALLOC_FL_ZERO_RANGE:
      return fs::FallocateMode::kZeroRange;
    case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
      return fs::FallocateMode::kZeroRangeKeep;
    default:
      return Fail(Err::kNotSupported);
  }
}

void Fallocate(fuse_req_t req, fuse_ino_t ino, int flags, off_t offset, off_t length,
               fuse_file_info*) {
  auto mode = ModeOf(flags);
  if (!mode) return ReplyError(req, mode.error());
  if (auto killed = KillPrivileges(req, ino); !killed) return ReplyError(req, killed.error());
  auto result = ContextOf(req).fs.Fallocate(
      CallerOf(req), ino, *mode, static_cast<uint64_t>(offset), static_cast<uint64_t>(length));
  if (!result) return ReplyError(req, result.error());
  fuse_reply_err(req, 0);
}

void Lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info*) {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return ReplyError(req, Err::kInvalid);
  if (offset < 0) return ReplyError(req, Err::kNoSuchExtent);
  auto found =
      ContextOf(req).fs.Seek(CallerOf(req), ino, static_cast<uint64_t>(offset),
                             whence == SEEK_DATA ? fs::SeekWhence::kData : fs::SeekWhence::kHole);
  if (!found) return ReplyError(req, found.error());
  fuse_reply_lseek(req, static_cast<off_t>(*found));
}

void CopyFileRange(fuse_req_t req, fuse_ino_t from, off_t from_offset, fuse_file_info*,
                   fuse_ino_t to, off_t to_offset, fuse_file_info*, size_t length, int flags) {
  if (flags != 0) return ReplyError(req, Err::kInvalid);
  if (auto killed = KillPrivileges(req, to); !killed) return ReplyError(req, killed.error());
  // The reply carries 32 bits.
  uint64_t bounded = std::min<uint64_t>(length, uint64_t{1} << 30);
  auto copied = ContextOf(req).fs.CopyRange(CallerOf(req), from, static_cast<uint64_t>(from_offset),
                                            to, static_cast<uint64_t>(to_offset), bounded);
  if (!copied) return ReplyError(req, copied.error());
  fuse_reply_write(req, *copied);
}

}  // namespace

void InstallFileOps(fuse_lowlevel_ops& ops) {
  ops.read = Read;
  ops.write = Write;
  ops.fsync = Fsync;
  ops.fsyncdir = Fsync;
  ops.fallocate = Fallocate;
  ops.lseek = Lseek;
  ops.copy_file_range = CopyFileRange;
}

}  // namespace prism::mount
