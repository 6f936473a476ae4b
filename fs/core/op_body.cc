// Read, Write, Fallocate, Seek and CopyRange: what works on the bodies of regular files.
#include <algorithm>
#include <optional>
#include <vector>

#include "fs/core/directory_attr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {
namespace {

// Writing takes set-id bits away from who is not root; a kernel asks for it itself.
bool Kills(const Caller& caller, bool asked) {
  return asked || (caller.check_permission && caller.uid != 0);
}

}  // namespace

Result<ReadResult> VolumeFs::Read(const Caller& caller, InodeId ino, uint64_t offset,
                                  std::span<std::byte> buffer) {
  PRISM_TRY(Alive());
  if (buffer.size() > kIoMax) return Fail(Err::kInvalid);
  return impl_.data.Read(ino, offset, buffer,
                         [&](const cow::ReadView& view, const InodeRecord& record) {
                           return RequireBody(view, caller, record, kMayRead);
                         });
}

Result<KeptRead> VolumeFs::ReadKept(const Caller& caller, InodeId ino, uint64_t offset,
                                    size_t length) {
  PRISM_TRY(Alive());
  if (length > kIoMax) return Fail(Err::kInvalid);
  return impl_.data.ReadKept(ino, offset, length,
                             [&](const cow::ReadView& view, const InodeRecord& record) {
                               return RequireBody(view, caller, record, kMayRead);
                             });
}

Result<WriteResult> VolumeFs::Write(const Caller& caller, const WriteArgs& args) {
  PRISM_TRY(Writable(args.ino));
  if (args.data.size() > kIoMax) return Fail(Err::kInvalid);
  bool has_privileges = false;
  const bool kills = Kills(caller, args.kill_privileges) && !args.data.empty();
  auto check = [&](const cow::ReadView& view, const InodeRecord& record) -> Status {
    has_privileges = false;
    PRISM_TRY(RequireBody(view, caller, record, kMayWrite));
    const uint64_t offset = args.append ? record.attr.size : args.offset;
    if (!args.data.empty() && !FitsInFile(offset, args.data.size())) return Fail(Err::kTooLarge);
    has_privileges = kills && HasPrivileges(record);
    if (has_privileges) return Fail(Err::kAgain);
    return {};
  };
  using Append = FileData::Append;
  const Append append = !args.append ? Append::kNo : (args.append_at ? Append::kAt : Append::kYes);
  auto written = impl_.data.Write(args.ino, args.offset, append, args.data, check);
  std::optional<Attr> before;
  while (!written && has_privileges) {
    // They go before the first byte of new content comes.
    SetAttr kill;
    kill.kill_privileges = true;
    PRISM_ASSIGN(const Change killed, Setattr(Caller{}, args.ino, kill));
    if (!before) before = killed.before;
    written = impl_.data.Write(args.ino, args.offset, append, args.data, check);
  }
  PRISM_TRY(written);
  if (before) written->change.before = *before;
  impl_.clients.TellInode(id_, args.ino);
  if (args.stability == Stability::kUnstable) return written;
  PRISM_TRY(impl_.data.Flush(args.ino));
  PRISM_TRY(impl_.map->WaitDurable(impl_.map->LastLsn()));
  written->committed = Stability::kFileSync;
  return written;
}

Result<Change> VolumeFs::Fallocate(const Caller& caller, InodeId ino, FallocateMode mode,
                                   uint64_t offset, uint64_t length) {
  PRISM_TRY(Writable(ino));
  if (length == 0 || mode > FallocateMode::kZeroRangeKeep) return Fail(Err::kInvalid);
  if (offset > kFileSizeMax || length > kFileSizeMax - offset) return Fail(Err::kTooLarge);
  const uint64_t end = offset + length;
  const bool zero = mode == FallocateMode::kPunchHole || mode == FallocateMode::kZeroRange ||
                    mode == FallocateMode::kZeroRangeKeep;
  const bool grow = mode == FallocateMode::kAllocate || mode == FallocateMode::kZeroRange;
  // Nothing is reserved: copy-on-write and sharing make any promise a guess. But what could not
  // be kept even now is refused.
  if (!zero && impl_.store.FreeBytes() < length) return Fail(Err::kNoSpace);
  auto check = [&](const cow::ReadView& view, const InodeRecord& record) -> Status {
    PRISM_TRY(RequireBody(view, caller, record, kMayWrite));
    if (zero) return {};
    const uint64_t used = record.attr.used_bytes;
    return impl_.data.RequireRoom(view, 0, std::min(length, end - std::min(end, used)));
  };
  auto edit = [&](cow::WriteTransaction& transaction, InodeRecord& record) -> Status {
    if (Kills(caller, false)) PRISM_TRY(KillPrivileges(transaction, impl_.key, record));
    return {};
  };
  PRISM_ASSIGN(const Change change,
               impl_.data.Zero(ino, zero ? offset : end, end, grow, check, edit));
  impl_.clients.TellInode(id_, ino);
  return change;
}

Result<uint64_t> VolumeFs::Seek(const Caller& caller, InodeId ino, uint64_t offset,
                                SeekWhence whence) {
  PRISM_TRY(Alive());
  if (whence > SeekWhence::kHole) return Fail(Err::kInvalid);
  return impl_.data.Seek(ino, offset, whence,
                         [&](const cow::ReadView& view, const InodeRecord& record) {
                           return RequireBody(view, caller, record, kMayRead);
                         });
}

// Through memory: as far as the next place where sharing may begin, or a bounded number of bytes.
Result<uint64_t> VolumeFs::CopyBytes(const Caller& caller, InodeId from, uint64_t from_offset,
                                     InodeId to, uint64_t to_offset, uint64_t length) {
  constexpr uint64_t kCopyMax = uint64_t{4} << 20;
  constexpr uint64_t kBuffer = uint64_t{256} << 10;
  const bool same_phase = from_offset % cow::kBlockSize == to_offset % cow::kBlockSize;
  if (same_phase && from_offset % cow::kUnitSize != 0)
    length = std::min(length, cow::kUnitSize - from_offset % cow::kUnitSize);
  length = std::min(length, kCopyMax);
  std::vector<std::byte> buffer(std::min(length, kBuffer));
  uint64_t copied = 0;
  while (copied < length) {
    const auto part = std::span(buffer).first(std::min<uint64_t>(buffer.size(), length - copied));
    PRISM_ASSIGN(const ReadResult read, Read(caller, from, from_offset + copied, part));
    if (read.length == 0) break;
    WriteArgs args;
    args.ino = to;
    args.offset = to_offset + copied;
    args.data = part.first(read.length);
    auto written = Write(caller, args);
    if (!written) {
      if (copied > 0) break;
      return Fail(written.error());
    }
    copied += written->length;
    if (read.eof) break;
  }
  return copied;
}

Result<uint64_t> VolumeFs::CopyRange(const Caller& caller, InodeId from, uint64_t from_offset,
                                     InodeId to, uint64_t to_offset, uint64_t length) {
  PRISM_TRY(Writable(to));
  {
    auto view = impl_.map->Read();
    PRISM_ASSIGN(const InodeRecord source, Load(*view, from));
    PRISM_ASSIGN(const InodeRecord target, Load(*view, to));
    PRISM_TRY(RequireBody(*view, caller, source, kMayRead));
    PRISM_TRY(RequireBody(*view, caller, target, kMayWrite));
    if (from_offset >= source.attr.size) return 0;
    length = std::min(length, source.attr.size - from_offset);
  }
  if (length == 0) return 0;
  if (to_offset > kFileSizeMax || length > kFileSizeMax - to_offset) return Fail(Err::kTooLarge);
  const uint64_t distance =
      from_offset > to_offset ? from_offset - to_offset : to_offset - from_offset;
  if (from == to && distance < length) return Fail(Err::kInvalid);
  auto edit = [&](cow::WriteTransaction& transaction, InodeRecord& record) -> Status {
    if (Kills(caller, false)) PRISM_TRY(KillPrivileges(transaction, impl_.key, record));
    return {};
  };
  PRISM_ASSIGN(const uint64_t shared,
               impl_.data.Share(from, from_offset, to, to_offset, length, edit));
  if (shared == 0) return CopyBytes(caller, from, from_offset, to, to_offset, length);
  impl_.clients.TellInode(id_, to);
  return shared;
}

}  // namespace prism::fs
