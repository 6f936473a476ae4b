// Paths inside a volume whose content may be hostile: they are resolved as for a process that has
// been put into it by chroot(2), so that no symlink leads out, and none leads round for ever.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fs/base/failure.h"
#include "fs/contract/file_system.h"

namespace prism::birth {

inline constexpr fs::Caller kSystem{};  // root; nothing is checked
inline constexpr int kLinksMax = 40;    // symlinks that one path may lead through, as in Linux
inline constexpr size_t kMatchesMax = 100000;  // of one pattern

// Where a path ends: a name in a directory, and what is there, if anything is.
struct Place {
  InodeId dir = 0;
  std::string name;  // empty: the directory itself, which the path ends in
  std::optional<fs::Attr> attr;
};

// kNoEntry, kNotDirectory: a directory on the way is none; kLoop. follow_last: a symlink at the end
// is followed too, also to where nothing is yet.
Result<Place> Walk(fs::FileSystem& volume, std::string_view path, bool follow_last);

// The same for all that a pattern names: `*` and `?` in a part stand for what they do in a shell
// (fnmatch(3)), and match no leading dot. Without them, the one place, also where nothing is.
// kTooBig: more than kMatchesMax.
Result<std::vector<Place>> Expand(fs::FileSystem& volume, std::string_view pattern,
                                  bool follow_last);

bool IsPattern(std::string_view text);

// The errors that say that a path leads nowhere.
bool IsAbsence(Err err);

// Removes what is there, a directory with all that is in it, whatever its depth.
Status RemoveAll(fs::FileSystem& volume, const Place& place);

// The file at that place is `content` afterwards. One that is there stays what it is otherwise; a
// new one gets this mode and belongs to root. kIsDirectory; kInvalid: neither file nor absent.
Status PutFile(fs::FileSystem& volume, const Place& place, std::string_view content, uint32_t mode);

}  // namespace prism::birth
