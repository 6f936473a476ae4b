#include "tests/vrpc/echo_fs.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace prism::vrpc {
namespace {

constexpr size_t kLogMax = 1000;

template <typename T>
std::string Show(const T& value) {
  if constexpr (std::is_enum_v<T>)
    return fmt::format("{}", static_cast<uint64_t>(value));
  else
    return fmt::format("{}", value);
}
std::string Show(const fs::Timespec& t) { return fmt::format("{}.{}", t.sec, t.nsec); }
template <typename T>
std::string Show(const std::optional<T>& value) {
  return value ? Show(*value) : "-";
}
std::string Show(const fs::SetAttr& a) {
  return fmt::format("[{} {} {} {} {} {} {} {} {}]", Show(a.mode), Show(a.uid), Show(a.gid),
                     Show(a.size), Show(a.atime), Show(a.mtime), a.atime_now, a.mtime_now,
                     a.kill_privileges);
}
std::string Show(std::span<const std::byte> data) {
  uint64_t sum = 14695981039346656037u;
  for (std::byte b : data) sum = (sum ^ static_cast<uint64_t>(b)) * 1099511628211u;
  return fmt::format("{} bytes {:x}", data.size(), sum);
}
std::string Show(std::span<const fs::Xattr> xattrs) {
  std::string text;
  for (const fs::Xattr& x : xattrs) text += fmt::format("{}={};", x.name, x.value);
  return text;
}

fs::Change EchoChange(InodeId ino) { return {EchoAttr(ino), EchoAttr(ino + 1)}; }

}  // namespace

std::atomic<int> EchoFs::alive = 0;

fs::Attr EchoAttr(InodeId ino) {
  uint32_t n = static_cast<uint32_t>(ino & 0xffff);
  return {.ino = ino,
          .type = static_cast<fs::FileType>(1 + ino % 7),
          .mode = n & 07777,
          .nlink = n + 1,
          .uid = n + 2,
          .gid = n + 3,
          .size = (uint64_t{n} << 33) + 4,
          .used_bytes = (uint64_t{n} << 34) + 5,
          .rdev_major = n + 6,
          .rdev_minor = n + 7,
          .atime = {-int64_t{n}, n + 8},
          .mtime = {(int64_t{1} << 40) + n, n + 9},
          .ctime = {int64_t{n} + 10, 999'999'999},
          .btime = {int64_t{n} + 11, n + 12},
          .change = ~uint64_t{n}};
}

EchoFs::~EchoFs() { --alive; }

template <typename... Args>
void EchoFs::Note(const char* op, const fs::Caller& caller, const Args&... args) {
  std::string line = fmt::format("{} by {}:{} {} {}:", op, caller.uid, caller.gid,
                                 fmt::join(caller.groups, ","), caller.check_permission);
  ((line += " " + Show(args)), ...);
  std::lock_guard lock(mutex_);
  if (log_.size() < kLogMax) log_.push_back(std::move(line));
}

std::vector<std::string> EchoFs::TakeLog() {
  std::lock_guard lock(mutex_);
  return std::exchange(log_, {});
}

void EchoFs::Unblock() {
  std::lock_guard lock(mutex_);
  unblocked_ = true;
  changed_.notify_all();
}

void EchoFs::AwaitBlocked(uint32_t calls) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return blocked_ >= calls; });
}

void EchoFs::Send(const fs::Event& event) {
  std::lock_guard lock(listener_mutex_);
  if (listener_ != nullptr) listener_->OnEvent(event);
}

void EchoFs::SetListener(fs::EventListener* listener) {
  std::lock_guard lock(listener_mutex_);
  listener_ = listener;
}

Result<fs::StatfsResult> EchoFs::Statfs(const fs::Caller& caller) {
  Note("statfs", caller);
  return fs::StatfsResult{1, 2, 3, 4, uint64_t{5} << 50};
}

Result<fs::EntryResult> EchoFs::Lookup(const fs::Caller& caller, InodeId dir,
                                       std::string_view name) {
  Note("lookup", caller, dir, name);
  if (name.size() > fs::kNameMax) return Fail(Err::kNameTooLong);
  return fs::EntryResult{EchoAttr(dir + name.size()), EchoChange(dir), false};
}

Result<fs::Attr> EchoFs::Getattr(const fs::Caller& caller, InodeId ino) {
  Note("getattr", caller, ino);
  if (ino == kStaleInode) return Fail(Err::kStale);
  return EchoAttr(ino);
}

Result<fs::Change> EchoFs::Setattr(const fs::Caller& caller, InodeId ino,
                                   const fs::SetAttr& changes) {
  Note("setattr", caller, ino, changes);
  return EchoChange(ino);
}

Result<uint32_t> EchoFs::Access(const fs::Caller& caller, InodeId ino, uint32_t mask) {
  Note("access", caller, ino, mask);
  return mask & 5;
}

Result<std::string> EchoFs::Readlink(const fs::Caller& caller, InodeId ino) {
  Note("readlink", caller, ino);
  return std::string(ino % (fs::kSymlinkMax + 1), 't');
}

Result<fs::ReadResult> EchoFs::Read(const fs::Caller& caller, InodeId ino, uint64_t offset,
                                    std::span<std::byte> buffer) {
  Note("read", caller, ino, offset, buffer.size());
  size_t length = std::min<size_t>(buffer.size(), ino);
  for (size_t i = 0; i < length; ++i) buffer[i] = static_cast<std::byte>((offset + i) * 7);
  return fs::ReadResult{static_cast<uint32_t>(length), length < buffer.size(), EchoAttr(ino)};
}

Result<fs::WriteResult> EchoFs::Write(const fs::Caller& caller, const fs::WriteArgs& args) {
  std::vector<std::byte> copy(args.data.begin(), args.data.end());
  Note("write", caller, args.ino, args.offset, std::span<const std::byte>(copy), args.append,
       args.stability, args.kill_privileges);
  return fs::WriteResult{static_cast<uint32_t>(copy.size()), args.offset, args.stability,
                         EchoChange(args.ino)};
}

Result<fs::EntryResult> EchoFs::Create(const fs::Caller& caller, const fs::CreateArgs& args) {
  Note("create", caller, args.parent, args.name, args.type, args.mode, args.umask, args.rdev_major,
       args.rdev_minor, args.symlink_target, args.exclusivity, args.verifier, args.initial,
       args.data, args.xattrs);
  if (args.data.size() > fs::kInitialDataMax) return Fail(Err::kTooLarge);
  return fs::EntryResult{EchoAttr(args.parent + 100), EchoChange(args.parent), true};
}

Result<fs::EntryResult> EchoFs::Link(const fs::Caller& caller, InodeId ino, InodeId dir,
                                     std::string_view name) {
  Note("link", caller, ino, dir, name);
  return fs::EntryResult{EchoAttr(ino), EchoChange(dir), true};
}

Result<fs::RemoveResult> EchoFs::Unlink(const fs::Caller& caller, InodeId dir,
                                        std::string_view name) {
  Note("unlink", caller, dir, name);
  return fs::RemoveResult{EchoAttr(dir + 9), EchoChange(dir)};
}

Result<fs::RemoveResult> EchoFs::Rmdir(const fs::Caller& caller, InodeId dir,
                                       std::string_view name) {
  Note("rmdir", caller, dir, name);
  return fs::RemoveResult{EchoAttr(dir + 8), EchoChange(dir)};
}

Result<fs::RenameResult> EchoFs::Rename(const fs::Caller& caller, InodeId from_dir,
                                        std::string_view from_name, InodeId to_dir,
                                        std::string_view to_name, uint32_t flags) {
  Note("rename", caller, from_dir, from_name, to_dir, to_name, flags);
  fs::RenameResult result{EchoChange(from_dir), EchoChange(to_dir), EchoAttr(7), std::nullopt};
  if (flags == fs::kRenameExchange) result.replaced = EchoAttr(8);
  return result;
}

Result<fs::ReaddirResult> EchoFs::Readdir(const fs::Caller& caller, InodeId dir, uint64_t cookie,
                                          bool with_attr,
                                          FunctionRef<bool(const fs::DirEntry&)> visitor) {
  Note("readdir", caller, dir, cookie, with_attr);
  bool eof = true;
  uint64_t first = cookie == 0 ? kFirstCookie : cookie + 1;
  for (uint64_t c = first; c < kFirstCookie + kListingSize; ++c) {
    std::string name = fmt::format("{:0>{}}", c, 1 + c % fs::kNameMax);
    fs::Attr attr = EchoAttr(c);
    fs::DirEntry entry{c, c + 1000, attr.type, name, with_attr ? &attr : nullptr};
    if (!visitor(entry)) {
      eof = false;
      break;
    }
  }
  return fs::ReaddirResult{eof, EchoAttr(dir)};
}

Status EchoFs::Fsync(const fs::Caller& caller, InodeId ino, bool data_only) {
  Note("fsync", caller, ino, data_only);
  if (ino != kBlockingInode) return {};
  std::unique_lock lock(mutex_);
  ++blocked_;
  changed_.notify_all();
  changed_.wait(lock, [&] { return unblocked_; });
  --blocked_;
  return {};
}

Status EchoFs::Sync(const fs::Caller& caller) {
  Note("sync", caller);
  return Fail(Err::kIo);
}

Result<std::string> EchoFs::Getxattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  Note("getxattr", caller, ino, name);
  return std::string(ino % (fs::kXattrValueMax + 1), 'v');
}

Status EchoFs::Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                        std::string_view value, fs::XattrMode mode) {
  Note("setxattr", caller, ino, name, value, mode);
  if (value.size() > fs::kXattrValueMax) return Fail(Err::kTooBig);
  return {};
}

Result<std::vector<std::string>> EchoFs::Listxattr(const fs::Caller& caller, InodeId ino) {
  Note("listxattr", caller, ino);
  std::vector<std::string> names;
  for (uint64_t i = 0; i < ino % 500; ++i) names.push_back(fmt::format("user.name{}", i));
  return names;
}

Status EchoFs::Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  Note("removexattr", caller, ino, name);
  return Fail(Err::kNoAttribute);
}

Result<fs::Change> EchoFs::Fallocate(const fs::Caller& caller, InodeId ino, fs::FallocateMode mode,
                                     uint64_t offset, uint64_t length) {
  Note("fallocate", caller, ino, mode, offset, length);
  return EchoChange(ino);
}

Result<uint64_t> EchoFs::Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                              fs::SeekWhence whence) {
  Note("seek", caller, ino, offset, whence);
  return offset + 1;
}

Result<uint64_t> EchoFs::CopyRange(const fs::Caller& caller, InodeId from, uint64_t from_offset,
                                   InodeId to, uint64_t to_offset, uint64_t length) {
  Note("copy_range", caller, from, from_offset, to, to_offset, length);
  return length / 2;
}

Status EchoFs::Release(const fs::Caller& caller, InodeId ino) {
  Note("release", caller, ino);
  return ino == kStaleInode ? Status(Fail(Err::kInvalid)) : Status();
}

Status EchoFs::Lock(const fs::Caller& caller, const fs::LockArgs& a) {
  Note("lock", caller, a.ino, a.kind, a.type, a.start, a.length, a.owner, a.pid, a.wait, a.cookie);
  return a.wait ? Status(Fail(Err::kAgain)) : Status();
}

// Free if the inode is 0; else held as asked for.
Result<std::optional<fs::LockHolder>> EchoFs::TestLock(const fs::Caller& caller,
                                                       const fs::LockArgs& a) {
  Note("test_lock", caller, a.ino, a.kind, a.type, a.start, a.length, a.owner, a.pid);
  if (a.ino == kStaleInode) return Fail(Err::kStale);
  if (a.ino == 0) return std::nullopt;
  return fs::LockHolder{a.kind, a.type, a.start, a.length, a.pid, a.wait, std::string(a.owner)};
}

Status EchoFs::CancelLock(const fs::Caller& caller, uint64_t cookie) {
  Note("cancel_lock", caller, cookie);
  return cookie == 0 ? Status(Fail(Err::kNoEntry)) : Status();
}

Status EchoFs::DropLocks(const fs::Caller& caller, InodeId ino, std::string_view owner_prefix) {
  Note("drop_locks", caller, ino, owner_prefix);
  return {};
}

}  // namespace prism::vrpc
