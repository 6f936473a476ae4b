// The calls of a ResumingClient: which of them may simply be repeated, and what the others need.
#include <cstring>
#include <utility>

#include "vrpc/resuming_client.h"

namespace prism::vrpc {
namespace {

constexpr int kAppendAttempts = 100;
constexpr size_t kSyncSoon = ResumingClient::kUnsyncedMax / 4;

// The bytes are in the file, at that place.
Result<bool> IsThere(Client& client, const fs::WriteArgs& args) {
  std::string found(args.data.size(), '\0');
  size_t filled = 0;
  while (filled < found.size()) {
    auto buffer = std::as_writable_bytes(std::span(found.data() + filled, found.size() - filled));
    PRISM_ASSIGN(auto read, client.Read(fs::Caller{}, args.ino, args.offset + filled, buffer));
    if (read.length == 0) return false;
    filled += read.length;
  }
  return std::memcmp(found.data(), args.data.data(), found.size()) == 0;
}

// Of a directory in which something was done by an earlier attempt.
Result<fs::Change> ChangeNow(Client& client, InodeId dir) {
  PRISM_ASSIGN(const fs::Attr attr, client.Getattr(fs::Caller{}, dir));
  return fs::Change{attr, attr};
}

Result<fs::EntryResult> EntryNow(Client& client, InodeId dir, std::string_view name, InodeId ino) {
  auto found = client.Lookup(fs::Caller{}, dir, name);
  if (!found || found->attr.ino != ino) {  // somebody has moved it since
    fs::EntryResult entry;
    PRISM_ASSIGN(entry.attr, client.Getattr(fs::Caller{}, ino));
    PRISM_ASSIGN(entry.parent, ChangeNow(client, dir));
    found = entry;
  }
  found->created = true;
  return found;
}

Result<fs::RemoveResult> RemovedNow(Client& client, InodeId dir, InodeId ino) {
  fs::RemoveResult result;
  result.removed.ino = ino;
  auto attr = client.Getattr(fs::Caller{}, ino);
  if (attr) result.removed = *attr;
  if (!attr && attr.error() != Err::kStale) return Fail(attr.error());
  PRISM_ASSIGN(result.parent, ChangeNow(client, dir));
  return result;
}

}  // namespace

template <typename Call>
auto ResumingClient::Do(Call&& call) -> decltype(call(std::declval<Client&>())) {
  for (;;) {
    const Live live = Current();
    if (live.client == nullptr) return Fail(Err::kDisconnected);
    auto result = call(*live.client);
    if (result) return result;
    // A session that breaks the protocol is over, too; but a server may answer that of a request.
    const bool is_lost = result.error() == Err::kDisconnected ||
                         (result.error() == Err::kProtocol && !live.client->connected());
    if (!is_lost) return result;
    Lost(live.client);
  }
}

template <typename Call, typename Again>
auto ResumingClient::Once(const fs::Caller& caller, Call&& call, Again&& again)
    -> decltype(call(std::declval<Client&>(), caller)) {
  uint32_t number = next_number_.fetch_add(1, std::memory_order_relaxed);
  if (number == 0) number = next_number_.fetch_add(1, std::memory_order_relaxed);
  const fs::RequestId id{.client = options_.client, .number = number, .checksum = 0};
  fs::Caller numbered = caller;
  numbered.request = &id;
  bool repeated = false;
  return Do([&](Client& client) -> decltype(call(client, caller)) {
    if (std::exchange(repeated, true)) {
      Result<InodeId> done = client.FindDone(id);
      if (done) return again(client, *done);
      if (done.error() != Err::kNoEntry) return Fail(done.error());
    }
    return call(client, numbered);
  });
}

Result<fs::StatfsResult> ResumingClient::Statfs(const fs::Caller& caller) {
  return Do([&](Client& c) { return c.Statfs(caller); });
}

Result<fs::EntryResult> ResumingClient::Lookup(const fs::Caller& caller, InodeId dir,
                                               std::string_view name) {
  return Do([&](Client& c) { return c.Lookup(caller, dir, name); });
}

Result<fs::Attr> ResumingClient::Getattr(const fs::Caller& caller, InodeId ino) {
  return Do([&](Client& c) { return c.Getattr(caller, ino); });
}

Result<fs::Change> ResumingClient::Setattr(const fs::Caller& caller, InodeId ino,
                                           const fs::SetAttr& changes) {
  for (;;) {
    uint64_t generation = 0;
    auto result = Do([&](Client& c) {
      generation = generation_.load(std::memory_order_acquire);
      return c.Setattr(caller, ino, changes);
    });
    if (!result || !changes.size) return result;
    unsynced_.Cut(ino, *changes.size);
    // Lost in between, what has just been cut may have been written again.
    if (generation_.load(std::memory_order_acquire) == generation) return result;
  }
}

Result<uint32_t> ResumingClient::Access(const fs::Caller& caller, InodeId ino, uint32_t mask) {
  return Do([&](Client& c) { return c.Access(caller, ino, mask); });
}

Result<std::string> ResumingClient::Readlink(const fs::Caller& caller, InodeId ino) {
  return Do([&](Client& c) { return c.Readlink(caller, ino); });
}

Result<fs::ReadResult> ResumingClient::Read(const fs::Caller& caller, InodeId ino, uint64_t offset,
                                            std::span<std::byte> buffer) {
  return Do([&](Client& c) { return c.Read(caller, ino, offset, buffer); });
}

Result<fs::ReadResult> ResumingClient::ReadInPlace(
    const fs::Caller& caller, InodeId ino, uint64_t offset, size_t length,
    FunctionRef<void(const fs::ReadResult&, std::span<const std::byte>)> visitor) {
  return Do([&](Client& c) { return c.ReadInPlace(caller, ino, offset, length, visitor); });
}

Result<fs::WriteResult> ResumingClient::Write(const fs::Caller& caller, const fs::WriteArgs& args) {
  if (args.append && !args.append_at) return Append(caller, args);
  // Before the call: a session that is lost after it has then another number.
  uint64_t generation = 0;
  auto result = Do([&](Client& c) {
    generation = generation_.load(std::memory_order_acquire);
    return c.Write(caller, args);
  });
  if (!result) return result;
  return Remember(args, *result, generation);
}

// The end of the file that is expected makes it possible to tell a repeated append from a new one.
// The caller has an idea of it (a kernel's i_size); where that is old, the server tells.
Result<fs::WriteResult> ResumingClient::Append(const fs::Caller& caller,
                                               const fs::WriteArgs& args) {
  fs::WriteArgs at = args;
  at.append_at = true;
  for (int attempt = 0; attempt < kAppendAttempts; ++attempt) {
    uint64_t generation = 0;
    bool repeated = false;
    auto result = Do([&](Client& c) -> Result<fs::WriteResult> {
      generation = generation_.load(std::memory_order_acquire);
      if (std::exchange(repeated, true)) {
        PRISM_ASSIGN(const bool there, IsThere(c, at));
        if (there) {
          PRISM_ASSIGN(const fs::Change now, ChangeNow(c, at.ino));
          return fs::WriteResult{.length = static_cast<uint32_t>(at.data.size()),
                                 .offset = at.offset,
                                 .committed = fs::Stability::kUnstable,
                                 .change = now};
        }
      }
      return c.Write(caller, at);
    });
    if (result) return Remember(at, *result, generation);
    if (result.error() != Err::kAgain) return result;
    PRISM_ASSIGN(const fs::Attr attr, Getattr(caller, at.ino));
    at.offset = attr.size;
  }
  return Fail(Err::kAgain);
}

Result<fs::WriteResult> ResumingClient::Remember(const fs::WriteArgs& args, fs::WriteResult result,
                                                 uint64_t generation) {
  if (result.committed != fs::Stability::kUnstable || result.length == 0) return result;
  const auto data = args.data.first(result.length);
  for (;;) {
    unsynced_.Add(args.ino, result.offset, data);
    if (generation_.load(std::memory_order_acquire) == generation) break;
    // The session was lost between the reply and this: the replay may not have seen it, and a sync
    // of the next one may have forgotten it since.
    PRISM_TRY(Do([&](Client& c) {
      generation = generation_.load(std::memory_order_acquire);
      return c.Write(fs::Caller{}, {.ino = args.ino, .offset = result.offset, .data = data});
    }));
  }
  const size_t unsynced = unsynced_.bytes();
  if (unsynced > kUnsyncedMax) PRISM_TRY(SyncAll(fs::Caller{}));
  if (unsynced > kSyncSoon) changed_.notify_all();  // the keeper need not wait for its second
  return result;
}

Result<fs::EntryResult> ResumingClient::Create(const fs::Caller& caller,
                                               const fs::CreateArgs& args) {
  auto result = Once(
      caller, [&](Client& c, const fs::Caller& numbered) { return c.Create(numbered, args); },
      [&](Client& c, InodeId ino) { return EntryNow(c, args.parent, args.name, ino); });
  if (result && !result->created && args.initial.size)
    unsynced_.Cut(result->attr.ino, *args.initial.size);
  return result;
}

Result<fs::EntryResult> ResumingClient::Link(const fs::Caller& caller, InodeId ino, InodeId dir,
                                             std::string_view name) {
  return Once(
      caller,
      [&](Client& c, const fs::Caller& numbered) { return c.Link(numbered, ino, dir, name); },
      [&](Client& c, InodeId linked) { return EntryNow(c, dir, name, linked); });
}

Result<fs::RemoveResult> ResumingClient::Unlink(const fs::Caller& caller, InodeId dir,
                                                std::string_view name) {
  return Once(
      caller, [&](Client& c, const fs::Caller& numbered) { return c.Unlink(numbered, dir, name); },
      [&](Client& c, InodeId ino) { return RemovedNow(c, dir, ino); });
}

Result<fs::RemoveResult> ResumingClient::Rmdir(const fs::Caller& caller, InodeId dir,
                                               std::string_view name) {
  return Once(
      caller, [&](Client& c, const fs::Caller& numbered) { return c.Rmdir(numbered, dir, name); },
      [&](Client& c, InodeId ino) { return RemovedNow(c, dir, ino); });
}

Result<fs::RenameResult> ResumingClient::Rename(const fs::Caller& caller, InodeId from_dir,
                                                std::string_view from_name, InodeId to_dir,
                                                std::string_view to_name, uint32_t flags) {
  return Once(
      caller,
      [&](Client& c, const fs::Caller& numbered) {
        return c.Rename(numbered, from_dir, from_name, to_dir, to_name, flags);
      },
      [&](Client& c, InodeId ino) -> Result<fs::RenameResult> {
        fs::RenameResult result;
        PRISM_ASSIGN(result.moved, c.Getattr(fs::Caller{}, ino));
        PRISM_ASSIGN(result.from_parent, ChangeNow(c, from_dir));
        PRISM_ASSIGN(result.to_parent, ChangeNow(c, to_dir));
        return result;
      });
}

Result<fs::ReaddirResult> ResumingClient::Readdir(const fs::Caller& caller, InodeId dir,
                                                  uint64_t cookie, bool with_attr,
                                                  FunctionRef<bool(const fs::DirEntry&)> visitor) {
  return Do([&](Client& c) {
    return c.Readdir(caller, dir, cookie, with_attr, [&](const fs::DirEntry& entry) {
      cookie = entry.cookie;
      return visitor(entry);
    });
  });
}

Status ResumingClient::Fsync(const fs::Caller& caller, InodeId ino, bool data_only) {
  const uint64_t mark = unsynced_.Mark();
  PRISM_TRY(Do([&](Client& c) { return c.Fsync(caller, ino, data_only); }));
  unsynced_.Forget(ino, mark);
  return unsynced_.TakeFailure(ino) ? Status(Fail(Err::kIo)) : Status();
}

// What was lost before is no failure of this.
Status ResumingClient::SyncAll(const fs::Caller& caller) {
  const uint64_t mark = unsynced_.Mark();
  PRISM_TRY(Do([&](Client& c) { return c.Sync(caller); }));
  unsynced_.Forget(0, mark);
  return {};
}

Status ResumingClient::Sync(const fs::Caller& caller) {
  PRISM_TRY(SyncAll(caller));
  return unsynced_.TakeFailure(0) ? Status(Fail(Err::kIo)) : Status();
}

Result<std::string> ResumingClient::Getxattr(const fs::Caller& caller, InodeId ino,
                                             std::string_view name) {
  return Do([&](Client& c) { return c.Getxattr(caller, ino, name); });
}

Status ResumingClient::Setxattr(const fs::Caller& caller, InodeId ino, std::string_view name,
                                std::string_view value, fs::XattrMode mode) {
  return Once(
      caller,
      [&](Client& c, const fs::Caller& numbered) {
        return c.Setxattr(numbered, ino, name, value, mode);
      },
      [](Client&, InodeId) { return Status(); });
}

Result<std::vector<std::string>> ResumingClient::Listxattr(const fs::Caller& caller, InodeId ino) {
  return Do([&](Client& c) { return c.Listxattr(caller, ino); });
}

Status ResumingClient::Removexattr(const fs::Caller& caller, InodeId ino, std::string_view name) {
  return Once(
      caller,
      [&](Client& c, const fs::Caller& numbered) { return c.Removexattr(numbered, ino, name); },
      [](Client&, InodeId) { return Status(); });
}

// What is to be written again must not come over what was made after it without being written.
Status ResumingClient::Settle(InodeId ino) {
  if (!unsynced_.Has(ino)) return {};
  return Fsync(fs::Caller{}, ino, true);
}

Result<fs::Change> ResumingClient::Fallocate(const fs::Caller& caller, InodeId ino,
                                             fs::FallocateMode mode, uint64_t offset,
                                             uint64_t length) {
  PRISM_TRY(Settle(ino));
  return Do([&](Client& c) { return c.Fallocate(caller, ino, mode, offset, length); });
}

Result<uint64_t> ResumingClient::Seek(const fs::Caller& caller, InodeId ino, uint64_t offset,
                                      fs::SeekWhence whence) {
  return Do([&](Client& c) { return c.Seek(caller, ino, offset, whence); });
}

Result<uint64_t> ResumingClient::CopyRange(const fs::Caller& caller, InodeId from,
                                           uint64_t from_offset, InodeId to, uint64_t to_offset,
                                           uint64_t length) {
  PRISM_TRY(Settle(to));
  return Do(
      [&](Client& c) { return c.CopyRange(caller, from, from_offset, to, to_offset, length); });
}

Status ResumingClient::AnswerBarrier(const fs::Caller& caller, uint64_t cookie, bool written) {
  return Do([&](Client& c) { return c.AnswerBarrier(caller, cookie, written); });
}

Status ResumingClient::Release(const fs::Caller& caller, InodeId ino) {
  bool repeated = false;
  PRISM_TRY(Do([&](Client& c) -> Status {
    const Status released = c.Release(caller, ino);
    const bool was_released = !released && released.error() == Err::kInvalid;
    return std::exchange(repeated, true) && was_released ? Status() : released;
  }));
  unsynced_.Forget(ino, unsynced_.Mark());
  locks_.Drop(ino, {});
  return {};
}

bool ResumingClient::NoteOf(uint64_t generation, FunctionRef<void()> note) {
  std::lock_guard lock(mutex_);
  if (generation_.load(std::memory_order_relaxed) != generation) return false;
  note();
  return true;
}

Status ResumingClient::Lock(const fs::Caller& caller, const fs::LockArgs& wanted) {
  fs::LockArgs args = wanted;
  if (args.wait) locks_.Waits(args);
  for (;;) {
    uint64_t generation = 0;
    const Status locked = Do([&](Client& c) -> Status {
      generation = generation_.load(std::memory_order_acquire);
      // A new session has asked for all that waits; what it was given, the event has told.
      if (args.wait && !locks_.IsToBeAsked(args.cookie)) return Fail(Err::kAgain);
      return c.Lock(caller, args);
    });
    const auto note = [&] {
      if (locked)
        locks_.Granted(args);
      else if (locked.error() == Err::kAgain)
        locks_.Refused(args);
      else if (args.wait)
        locks_.WaitEnded(args.cookie);
    };
    const bool is_over = !locked && locked.error() == Err::kDisconnected;
    if (is_over) note();
    if (is_over || NoteOf(generation, note)) return locked;
    if (locked) args.reclaim = fs::Reclaim::kYes;
  }
}

Result<std::optional<fs::LockHolder>> ResumingClient::TestLock(const fs::Caller& caller,
                                                               const fs::LockArgs& args) {
  return Do([&](Client& c) { return c.TestLock(caller, args); });
}

Status ResumingClient::CancelLock(const fs::Caller& caller, uint64_t cookie) {
  for (;;) {
    uint64_t generation = 0;
    const Status canceled = Do([&](Client& c) {
      generation = generation_.load(std::memory_order_acquire);
      return c.CancelLock(caller, cookie);
    });
    const bool too_late = !canceled && canceled.error() == Err::kNoEntry;
    if (!canceled && !too_late) return canceled;
    const auto note = [&] { too_late ? locks_.WaitGranted(cookie) : locks_.WaitEnded(cookie); };
    if (NoteOf(generation, note)) return canceled;
  }
}

Status ResumingClient::DropLocks(const fs::Caller& caller, InodeId ino,
                                 std::string_view owner_prefix) {
  locks_.Drop(ino, owner_prefix);  // first: a session that comes in between need not have them
  return Do([&](Client& c) { return c.DropLocks(caller, ino, owner_prefix); });
}

}  // namespace prism::vrpc
