// Entries of directories, and the way back from a file to its names (kParent items).
//
// A kParent item's `lo` is 0 for a directory, which has one name, and a hash of (directory, cookie)
// for all else, so that a file of many hard links loses one without a search. Value: directory u64,
// cookie u64.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "cow/volume_map.h"
#include "fs/core/dir_cookie.h"

namespace prism::fs {

// What a directory's attr.size counts for each entry.
inline constexpr uint64_t kEntrySize = 32;

struct FoundEntry {
  uint64_t cookie = 0;
  InodeId ino = 0;
  FileType type = FileType::kRegular;
};

struct EntryProbe {
  std::optional<FoundEntry> found;
  uint64_t free_cookie = 0;  // for an entry of that name, if there is none; 0: no slot is left
};

// Looks for `name` in one directory, by one scan of its hash's slots.
Result<EntryProbe> ProbeEntry(const cow::ReadView& view, const HashKeys& key, InodeId dir,
                              std::string_view name);
// The same, kNoEntry if it is absent.
Result<FoundEntry> FindEntry(const cow::ReadView& view, const HashKeys& key, InodeId dir,
                             std::string_view name);

void PutEntry(cow::WriteTransaction& transaction, InodeId dir, uint64_t cookie, InodeId ino,
              FileType type, std::string_view name);
void EraseEntry(cow::WriteTransaction& transaction, InodeId dir, uint64_t cookie);

Status AddParent(cow::WriteTransaction& transaction, InodeId child, FileType type, InodeId dir,
                 uint64_t cookie);
Status RemoveParent(cow::WriteTransaction& transaction, InodeId child, FileType type, InodeId dir,
                    uint64_t cookie);
// The directory that a kParent item's value names.
Result<InodeId> ParentDirectoryIn(std::string_view value);
// Of a directory. The root's is the root; a removed one's is kNoEntry.
Result<InodeId> ParentOfDirectory(const cow::ReadView& view, InodeId dir);
// True if `dir` is `ancestor` or below it.
Result<bool> IsWithin(const cow::ReadView& view, InodeId dir, InodeId ancestor);

}  // namespace prism::fs
