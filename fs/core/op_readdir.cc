#include <spdlog/spdlog.h>

#include "fs/core/permission.h"
#include "fs/core/volume_fs.h"

namespace prism::fs {

Result<ReaddirResult> VolumeFs::Readdir(const Caller& caller, InodeId dir, uint64_t cookie,
                                        bool with_attr,
                                        FunctionRef<bool(const DirEntry&)> visitor) {
  PRISM_TRY(Alive());
  auto view = impl_.map->Read();
  PRISM_ASSIGN(const InodeRecord record, LoadDirectory(*view, dir));
  PRISM_TRY(RequireAccess(*view, impl_.key, caller, record, kMayRead));
  ReaddirResult result;
  result.dir = record.attr;
  impl_.data.NoteRead(*view, record);
  impl_.data.lazy_times().Overlay(result.dir);
  result.eof = true;
  if (cookie == UINT64_MAX) return result;
  size_t count = 0;
  Status status;
  auto visit = [&](cow::Key key, std::string_view value) {
    if (count++ == kReaddirEntriesMax) {
      result.eof = false;
      return false;
    }
    auto entry = DecodeEntry(value);
    if (!entry) {
      spdlog::error("volume {}, directory {}: the entry at {:#x} does not decode",
                    impl_.options.volume, dir, key.lo);
      status = Fail(entry.error());
      return false;
    }
    DirEntry shown{key.lo, entry->ino, entry->type, entry->name, nullptr};
    InodeRecord child;
    if (with_attr) {
      auto loaded = Load(*view, entry->ino);
      if (!loaded) {
        spdlog::error("volume {}, directory {}: entry at {:#x} names inode {}, which is missing",
                      impl_.options.volume, dir, key.lo, entry->ino);
        status = Fail(Err::kCorrupt);
        return false;
      }
      child = *loaded;
      shown.attr = &child.attr;
    }
    if (visitor(shown)) return true;
    result.eof = false;
    return false;
  };
  PRISM_TRY(view->Scan(cow::MakeKey(cow::ItemType::kDirEntry, dir, cookie + 1),
                       cow::EndKey(cow::ItemType::kDirEntry, dir), visit));
  PRISM_TRY(status);
  return result;
}

}  // namespace prism::fs
