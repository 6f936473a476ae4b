#include "fs/core/directory_attr.h"
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {
namespace {

constexpr uint64_t kLinkBytes = 128;  // entry and parent, with their keys

}  // namespace

Result<EntryResult> VolumeFs::Link(const Caller& caller, InodeId ino, InodeId dir,
                                   std::string_view name) {
  PRISM_TRY(Writable());
  PRISM_TRY(CheckName(name));
  Transaction transaction = impl_.map->Write();
  PRISM_ASSIGN(InodeRecord record, Load(*transaction, ino));
  PRISM_ASSIGN(InodeRecord parent, LoadDirectory(*transaction, dir));
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, parent, kMayExecute));
  PRISM_ASSIGN(const EntryProbe probe, ProbeEntry(*transaction, impl_.key, dir, name));
  if (probe.found) return Fail(Err::kExists);
  if (parent.attr.nlink == 0) return Fail(Err::kNoEntry);
  PRISM_TRY(RequireAccess(*transaction, impl_.key, caller, parent, kMayWrite | kMayExecute));
  if (record.attr.type == FileType::kDirectory) return Fail(Err::kPerm);
  if (record.attr.nlink == 0) return Fail(Err::kNoEntry);
  if (record.attr.nlink >= kLinkMax) return Fail(Err::kTooManyLinks);
  if (probe.free_cookie == 0) return Fail(Err::kNoSpace);
  PRISM_TRY(impl_.data.RequireRoom(*transaction, 0, kLinkBytes + name.size()));

  EntryResult result;
  result.created = true;
  result.parent.before = parent.attr;
  const Timespec now = Now();
  PutEntry(*transaction, dir, probe.free_cookie, ino, record.attr.type, name);
  PRISM_TRY(AddParent(*transaction, ino, record.attr.type, dir, probe.free_cookie));
  ++record.attr.nlink;
  TouchInode(record.attr, now);
  StoreInode(*transaction, record);
  TouchDirectory(parent.attr, now, 1, 0);
  StoreInode(*transaction, parent);
  result.parent.after = parent.attr;
  result.attr = record.attr;
  PRISM_TRY(Commit(std::move(transaction), {.request = caller.request, .ino = ino}));
  impl_.clients.TellEntry(id_, dir, name);
  impl_.clients.TellInode(id_, ino);
  return result;
}

}  // namespace prism::fs
