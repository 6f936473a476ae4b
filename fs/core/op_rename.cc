#include "fs/core/directory_attr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {

// Everything a rename looks at, within its transaction.
struct VolumeFs::RenameState {
  InodeId from_ino = 0, to_ino = 0;  // directories
  std::string_view from_name, to_name;
  bool exchange = false;
  InodeRecord from_dir;
  InodeRecord to_dir_record;  // unless it is the same directory
  FoundEntry from;
  EntryProbe to;
  InodeRecord moved;
  InodeRecord target;  // if to.found
  Timespec now;
  cow::WriteTransaction* transaction = nullptr;

  bool same_dir() const { return from_ino == to_ino; }
  InodeRecord& to_dir() { return same_dir() ? from_dir : to_dir_record; }
  const InodeRecord& to_dir() const { return same_dir() ? from_dir : to_dir_record; }
};

namespace {

bool IsDirectory(const InodeRecord& record) { return record.attr.type == FileType::kDirectory; }

}  // namespace

// A file that replaces another has its data saved before its name: who writes a new version and
// renames it over the old one gets one of the two after a crash, never an empty file.
Status VolumeFs::FlushBeforeReplacing(InodeId from_dir, std::string_view from_name, InodeId to_dir,
                                      std::string_view to_name) {
  InodeId ino = 0;
  {
    auto view = impl_.map->Read();
    const auto from = FindEntry(*view, impl_.key, from_dir, from_name);
    if (!from || from->type != FileType::kRegular || !impl_.data.IsWaiting(from->ino)) return {};
    const auto to = FindEntry(*view, impl_.key, to_dir, to_name);
    if (!to || to->ino == from->ino) return {};
    ino = from->ino;
  }
  return impl_.data.Flush(ino);
}

Status VolumeFs::CheckCycle(const RenameState& state) {
  if (state.same_dir()) return {};
  if (IsDirectory(state.moved)) {
    PRISM_ASSIGN(const bool within, IsWithin(*state.transaction, state.to_ino, state.from.ino));
    if (within) return Fail(Err::kInvalid);
  }
  if (state.to.found && IsDirectory(state.target)) {
    PRISM_ASSIGN(const bool within,
                 IsWithin(*state.transaction, state.from_ino, state.target.attr.ino));
    if (within) return Fail(state.exchange ? Err::kInvalid : Err::kNotEmpty);
  }
  return {};
}

// Whether a file replaces a file, or a directory a directory.
Status VolumeFs::CheckReplaced(const RenameState& state) {
  if (!state.to.found || state.exchange) return {};
  if (IsDirectory(state.moved) && !IsDirectory(state.target)) return Fail(Err::kNotDirectory);
  if (!IsDirectory(state.moved) && IsDirectory(state.target)) return Fail(Err::kIsDirectory);
  return {};
}

Status VolumeFs::CheckRename(const Caller& caller, RenameState& state) {
  cow::WriteTransaction& view = *state.transaction;
  PRISM_TRY(CheckCycle(state));
  PRISM_TRY(RequireRemoval(view, impl_.key, caller, state.from_dir, state.moved));
  if (state.to.found) {
    PRISM_TRY(RequireRemoval(view, impl_.key, caller, state.to_dir(), state.target));
  } else {
    if (state.to_dir().attr.nlink == 0) return Fail(Err::kNoEntry);
    PRISM_TRY(RequireAccess(view, impl_.key, caller, state.to_dir(), kMayWrite | kMayExecute));
  }
  PRISM_TRY(CheckReplaced(state));
  // A directory that moves has its ".." changed.
  if (!state.same_dir() && IsDirectory(state.moved))
    PRISM_TRY(RequireAccess(view, impl_.key, caller, state.moved, kMayWrite));
  if (!state.same_dir() && state.exchange && IsDirectory(state.target))
    PRISM_TRY(RequireAccess(view, impl_.key, caller, state.target, kMayWrite));
  if (state.to.found && !state.exchange && IsDirectory(state.target) && state.target.attr.size > 0)
    return Fail(Err::kNotEmpty);
  if (state.same_dir()) return {};
  if (IsDirectory(state.moved) && !state.to.found && state.to_dir().attr.nlink >= kLinkMax)
    return Fail(Err::kTooManyLinks);
  return {};
}

Status VolumeFs::MoveEntries(RenameState& state) {
  cow::WriteTransaction& transaction = *state.transaction;
  const FileType type = state.moved.attr.type;
  const int moved_directory = IsDirectory(state.moved) ? 1 : 0;
  uint64_t cookie = state.to.free_cookie;
  int entries = 1;
  int directories = moved_directory;
  if (state.to.found) {
    cookie = state.to.found->cookie;
    PRISM_TRY(RemoveParent(transaction, state.target.attr.ino, state.target.attr.type, state.to_ino,
                           cookie));
    DropLink(transaction, state.target, state.now);
    entries = 0;
    directories -= IsDirectory(state.target) ? 1 : 0;
  }
  if (cookie == 0) return Fail(Err::kNoSpace);
  EraseEntry(transaction, state.from_ino, state.from.cookie);
  PRISM_TRY(
      RemoveParent(transaction, state.moved.attr.ino, type, state.from_ino, state.from.cookie));
  PutEntry(transaction, state.to_ino, cookie, state.moved.attr.ino, type, state.to_name);
  PRISM_TRY(AddParent(transaction, state.moved.attr.ino, type, state.to_ino, cookie));
  TouchInode(state.moved.attr, state.now);
  StoreInode(transaction, state.moved);
  if (state.same_dir()) {
    TouchDirectory(state.from_dir.attr, state.now, entries - 1, directories - moved_directory);
    return {};
  }
  TouchDirectory(state.from_dir.attr, state.now, -1, -moved_directory);
  TouchDirectory(state.to_dir_record.attr, state.now, entries, directories);
  return {};
}

Status VolumeFs::ExchangeEntries(RenameState& state) {
  cow::WriteTransaction& transaction = *state.transaction;
  Attr& first = state.moved.attr;
  Attr& second = state.target.attr;
  const uint64_t from_cookie = state.from.cookie;
  const uint64_t to_cookie = state.to.found->cookie;
  PRISM_TRY(RemoveParent(transaction, first.ino, first.type, state.from_ino, from_cookie));
  PRISM_TRY(RemoveParent(transaction, second.ino, second.type, state.to_ino, to_cookie));
  PutEntry(transaction, state.from_ino, from_cookie, second.ino, second.type, state.from_name);
  PutEntry(transaction, state.to_ino, to_cookie, first.ino, first.type, state.to_name);
  PRISM_TRY(AddParent(transaction, first.ino, first.type, state.to_ino, to_cookie));
  PRISM_TRY(AddParent(transaction, second.ino, second.type, state.from_ino, from_cookie));
  TouchInode(first, state.now);
  TouchInode(second, state.now);
  StoreInode(transaction, state.moved);
  StoreInode(transaction, state.target);
  const int gained = (IsDirectory(state.moved) ? 1 : 0) - (IsDirectory(state.target) ? 1 : 0);
  TouchDirectory(state.from_dir.attr, state.now, 0, state.same_dir() ? 0 : -gained);
  if (!state.same_dir()) TouchDirectory(state.to_dir_record.attr, state.now, 0, gained);
  return {};
}

Result<RenameResult> VolumeFs::Rename(const Caller& caller, InodeId from_dir,
                                      std::string_view from_name, InodeId to_dir,
                                      std::string_view to_name, uint32_t flags) {
  PRISM_TRY(Writable());
  PRISM_TRY(CheckName(from_name));
  PRISM_TRY(CheckName(to_name));
  constexpr uint32_t kBoth = kRenameNoReplace | kRenameExchange;
  if ((flags & ~kBoth) != 0 || (flags & kBoth) == kBoth) return Fail(Err::kInvalid);
  if (flags == kRenameNone) PRISM_TRY(FlushBeforeReplacing(from_dir, from_name, to_dir, to_name));

  Transaction transaction = impl_.map->Write();
  RenameState state;
  state.from_ino = from_dir;
  state.to_ino = to_dir;
  state.from_name = from_name;
  state.to_name = to_name;
  state.exchange = (flags & kRenameExchange) != 0;
  state.transaction = transaction.get();
  state.now = Now();
  PRISM_ASSIGN(state.from_dir, LoadDirectory(*transaction, from_dir));
  if (!state.same_dir()) {
    PRISM_ASSIGN(state.to_dir_record, LoadDirectory(*transaction, to_dir));
  }
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, state.from_dir, kMayExecute));
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, state.to_dir(), kMayExecute));
  PRISM_ASSIGN(state.from, FindEntry(*transaction, impl_.key, from_dir, from_name));
  PRISM_ASSIGN(state.to, ProbeEntry(*transaction, impl_.key, to_dir, to_name));
  if (state.to.found && (flags & kRenameNoReplace) != 0) return Fail(Err::kExists);
  if (!state.to.found && state.exchange) return Fail(Err::kNoEntry);
  PRISM_ASSIGN(state.moved, Load(*transaction, state.from.ino));
  if (state.to.found) {
    PRISM_ASSIGN(state.target, Load(*transaction, state.to.found->ino));
  }
  RenameResult result;
  result.from_parent = Change{state.from_dir.attr, state.from_dir.attr};
  result.to_parent = Change{state.to_dir().attr, state.to_dir().attr};
  result.moved = state.moved.attr;
  // Two names of one file: nothing happens (POSIX rename).
  if (state.to.found && state.to.found->ino == state.from.ino) return result;
  PRISM_TRY(CheckRename(caller, state));
  PRISM_TRY(state.exchange ? ExchangeEntries(state) : MoveEntries(state));
  StoreInode(*transaction, state.from_dir);
  if (!state.same_dir()) StoreInode(*transaction, state.to_dir_record);
  result.from_parent.after = state.from_dir.attr;
  result.to_parent.after = state.to_dir().attr;
  result.moved = state.moved.attr;
  if (state.to.found) result.replaced = state.target.attr;
  const InodeId replaced = state.to.found ? state.target.attr.ino : 0;
  const bool orphaned = replaced != 0 && state.target.attr.nlink == 0;
  if (orphaned) impl_.orphans.BeforeUnlinked(replaced, impl_.clients.Holders());
  PRISM_TRY(Commit(
      std::move(transaction),
      {.request = caller.request, .ino = state.from.ino, .orphan = orphaned ? replaced : 0}));
  impl_.clients.TellEntry(id_, from_dir, from_name);
  impl_.clients.TellEntry(id_, to_dir, to_name);
  impl_.clients.TellInode(id_, state.moved.attr.ino);
  if (orphaned) {
    impl_.clients.TellOrphaned(id_, replaced);
    impl_.orphans.AfterUnlinked(replaced);
  } else if (replaced != 0) {
    impl_.clients.TellInode(id_, replaced);
  }
  return result;
}

}  // namespace prism::fs
