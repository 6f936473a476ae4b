// Lookup, Getattr, Access and Readlink: what only looks at one or two inodes.
#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {

Result<EntryResult> VolumeFs::Lookup(const Caller& caller, InodeId dir, std::string_view name) {
  PRISM_TRY(Alive());
  if (name.empty()) return Fail(Err::kNoEntry);
  const bool dots = name == "." || name == "..";
  if (!dots) PRISM_TRY(CheckName(name));
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord parent, LoadDirectory(*view, dir));
  PRISM_TRY(RequireAccess(*view, impl_.key, caller, parent, kMayExecute));
  EntryResult result;
  result.parent = Change{parent.attr, parent.attr};
  if (name == ".") {
    result.attr = parent.attr;
    return result;
  }
  InodeId child = 0;
  if (dots) {
    PRISM_ASSIGN(child, ParentOfDirectory(*view, dir));
  } else {
    PRISM_ASSIGN(const FoundEntry found, FindEntry(*view, impl_.key, dir, name));
    child = found.ino;
  }
  PRISM_ASSIGN(const InodeRecord record, Load(*view, child));
  result.attr = record.attr;
  return result;
}

Result<Attr> VolumeFs::Getattr(const Caller&, InodeId ino) {
  PRISM_TRY(Alive());
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
  return record.attr;
}

Result<uint32_t> VolumeFs::Access(const Caller& caller, InodeId ino, uint32_t mask) {
  PRISM_TRY(Alive());
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
  PRISM_ASSIGN(uint32_t granted, GrantedAccess(*view, impl_.key, caller, record, mask));
  const FileType type = record.attr.type;
  const bool has_content =
      type == FileType::kRegular || type == FileType::kDirectory || type == FileType::kSymlink;
  if (has_content && impl_.map->read_only(ino)) granted &= ~uint32_t{kMayWrite};
  return granted;
}

Result<std::string> VolumeFs::Readlink(const Caller&, InodeId ino) {
  PRISM_TRY(Alive());
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, Load(*view, ino));
  if (record.attr.type != FileType::kSymlink) return Fail(Err::kInvalid);
  std::string target;
  PRISM_ASSIGN(const bool found, view->Get(cow::MakeKey(cow::ItemType::kSymlink, ino), target));
  if (!found) return Fail(Err::kCorrupt);
  impl_.data.NoteRead(*view, record);
  return target;
}

}  // namespace prism::fs
