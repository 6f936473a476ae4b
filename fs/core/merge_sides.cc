#include "fs/core/merge_sides.h"

#include <vector>

#include "fs/core/diff.h"
#include "fs/core/diff_items.h"
#include "fs/core/dir_cookie.h"

namespace prism::fs {
namespace {

using cow::ItemType;

bool SameOwnAttributes(const Attr& a, const Attr& b) {
  return a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.rdev_major == b.rdev_major &&
         a.rdev_minor == b.rdev_minor;
}

}  // namespace

bool MergeSides::Note(Side side, cow::Key key, const std::string_view* base,
                      const std::string_view* other) {
  failed_ =
      ++items_ > kDiffItemsMax ? Status(Fail(Err::kTooBig)) : NoteItem(side, key, base, other);
  return failed_.has_value();
}

Status MergeSides::NoteItem(Side side, cow::Key key, const std::string_view* base,
                            const std::string_view* other) {
  switch (key.type()) {
    case ItemType::kDirEntry:
      for (const std::string_view* value : {base, other}) {
        if (value == nullptr) continue;
        PRISM_ASSIGN(const EntryValue entry, DecodeEntry(*value));
        NameChange& change = names_[side][{key.ino(), std::string(entry.name)}];
        (value == base ? change.removed : change.added) = entry.ino;
      }
      return {};
    case ItemType::kExtent:
    case ItemType::kInlineData:
    case ItemType::kSymlink:
      bodies_[side].insert(key.ino());
      touched_[side].insert(key.ino());
      return {};
    case ItemType::kXattr:
      xattrs_[side].insert(key.ino());
      touched_[side].insert(key.ino());
      return {};
    case ItemType::kInode:
      touched_[side].insert(key.ino());
      return {};
    case ItemType::kRequest:
      if (other != nullptr) requests_[side].emplace(key, *other);
      return {};
    case ItemType::kParent:
    case ItemType::kOrphan:
      return {};
  }
  return Fail(Err::kCorrupt);
}

std::map<PlaceName, SideInodes> MergeSides::Names() const {
  std::map<PlaceName, SideInodes> names;
  for (Side side : {kMine, kTheirs})
    for (const auto& [place, change] : names_[side]) {
      if (change.removed == change.added) continue;  // its cookie alone differs
      auto [found, is_new] = names.try_emplace(place);
      SideInodes& inodes = found->second;
      // A side that has not changed the name has what the base has.
      if (is_new) inodes = {change.removed, change.removed, change.removed};
      inodes[side] = change.added;
    }
  return names;
}

Result<const InodeRecord*> MergeSides::Record(Side side, InodeId ino) {
  auto [found, is_new] = records_[side].try_emplace(ino);
  std::optional<InodeRecord>& record = found->second;
  if (is_new && ino != 0) {
    auto loaded = LoadInode(*views_[side], ino);
    if (!loaded && loaded.error() != Err::kStale) return Fail(loaded.error());
    if (loaded && loaded->attr.nlink > 0) record = *loaded;
  }
  return record ? &*record : nullptr;
}

Result<FileDelta> MergeSides::Compare(Side side_a, InodeId ino_a, Side side_b, InodeId ino_b) {
  PRISM_ASSIGN(const InodeRecord* a, Record(side_a, ino_a));
  PRISM_ASSIGN(const InodeRecord* b, Record(side_b, ino_b));
  if (a == nullptr || b == nullptr) return Fail(Err::kCorrupt);
  FileDelta delta;
  if (a->attr.type != b->attr.type) return FileDelta{true, true};
  const bool has_body = a->attr.type == FileType::kRegular || a->attr.type == FileType::kSymlink;
  delta.data = has_body && a->attr.size != b->attr.size;
  delta.attributes = !SameOwnAttributes(a->attr, b->attr);
  auto may_differ = [&](const auto& differing) {
    return ino_a != ino_b || differing[kMine].contains(ino_a) || differing[kTheirs].contains(ino_a);
  };
  if (has_body && !delta.data && may_differ(bodies_)) {
    std::vector<uint64_t> blocks;
    PRISM_ASSIGN(const bool same, SameBody(view(side_a), ino_a, view(side_b), ino_b, blocks));
    delta.data = !same;
  }
  if (!delta.attributes && may_differ(xattrs_)) {
    PRISM_ASSIGN(const bool same, SameXattrs(view(side_a), ino_a, view(side_b), ino_b));
    delta.attributes = !same;
  }
  return delta;
}

Result<std::string> MergeSides::PathOf(Side side, InodeId ino) {
  std::vector<std::string> above;  // from below
  for (InodeId at = ino; at != kRootInode;) {
    if (above.size() > kPathDepthMax) return Fail(Err::kCorrupt);
    PRISM_ASSIGN(std::vector<ParentName> names, NamesOf(view(side), at));
    if (names.empty()) return Fail(Err::kCorrupt);
    above.push_back(std::move(names.front().name));
    at = names.front().dir;
  }
  std::string path;
  for (auto name = above.rbegin(); name != above.rend(); ++name) path += "/" + *name;
  return path.empty() ? "/" : path;
}

}  // namespace prism::fs
