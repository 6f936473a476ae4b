// Unlink and Rmdir.
#include "fs/core/directory_attr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {

Result<RemoveResult> VolumeFs::Unlink(const Caller& caller, InodeId dir, std::string_view name) {
  return Remove(caller, dir, name, false);
}

Result<RemoveResult> VolumeFs::Rmdir(const Caller& caller, InodeId dir, std::string_view name) {
  return Remove(caller, dir, name, true);
}

Result<RemoveResult> VolumeFs::Remove(const Caller& caller, InodeId dir, std::string_view name,
                                      bool directory) {
  PRISM_TRY(Writable());
  PRISM_TRY(CheckName(name));
  Transaction transaction = impl_.map->Write();
  PRISM_ASSIGN(InodeRecord parent, LoadDirectory(*transaction, dir));
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, parent, kMayExecute));
  PRISM_ASSIGN(const FoundEntry found, FindEntry(*transaction, impl_.key, dir, name));
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, found.ino));
  PRISM_TRY(RequireRemoval(*transaction, impl_.key, caller, parent, record));
  const bool is_directory = record.attr.type == FileType::kDirectory;
  if (is_directory && !directory) return Fail(Err::kIsDirectory);
  if (!is_directory && directory) return Fail(Err::kNotDirectory);
  if (is_directory && record.attr.size > 0) return Fail(Err::kNotEmpty);

  RemoveResult result;
  result.parent.before = parent.attr;
  EraseEntry(*transaction, dir, found.cookie);
  PRISM_TRY(RemoveParent(*transaction, found.ino, record.attr.type, dir, found.cookie));
  const Timespec now = Now();
  DropLink(*transaction, record, now);
  TouchDirectory(parent.attr, now, -1, is_directory ? -1 : 0);
  StoreInode(*transaction, parent);
  result.parent.after = parent.attr;
  result.removed = record.attr;
  const bool orphaned = record.attr.nlink == 0;
  if (orphaned) impl_.orphans.BeforeUnlinked(found.ino, impl_.clients.Holders());
  PRISM_TRY(
      Commit(std::move(transaction),
             {.request = caller.request, .ino = found.ino, .orphan = orphaned ? found.ino : 0}));
  impl_.clients.TellEntry(id_, dir, name);
  if (orphaned) {
    impl_.clients.TellOrphaned(id_, found.ino);
    impl_.orphans.AfterUnlinked(found.ino);
  } else {
    impl_.clients.TellInode(id_, found.ino);
  }
  return result;
}

}  // namespace prism::fs
