#include "fs/core/volume_diff.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "fs/core/diff_items.h"
#include "fs/core/dir_cookie.h"

namespace prism::fs {
namespace {

using cow::ItemType;
using cow::MakeKey;

bool IsAlive(const std::optional<InodeRecord>& record) {
  return record && record->attr.nlink > 0 && (record->flags & kDying) == 0;
}

uint64_t BodySize(const InodeRecord& record) {
  const bool has_body =
      record.attr.type == FileType::kRegular || record.attr.type == FileType::kSymlink;
  return has_body ? record.attr.size : 0;
}

bool SameAttributes(const InodeRecord& a, const InodeRecord& b) {
  return a.attr.type == b.attr.type && a.attr.mode == b.attr.mode && a.attr.uid == b.attr.uid &&
         a.attr.gid == b.attr.gid && a.attr.mtime == b.attr.mtime &&
         a.attr.rdev_major == b.attr.rdev_major && a.attr.rdev_minor == b.attr.rdev_minor;
}

}  // namespace

bool VolumeDiff::Note(cow::Key key, const std::string_view* a, const std::string_view* b) {
  failed_ = ++items_ > kDiffItemsMax ? Status(Fail(Err::kTooBig)) : NoteItem(key, a, b);
  return failed_.has_value();
}

Status VolumeDiff::NoteItem(cow::Key key, const std::string_view* a, const std::string_view* b) {
  switch (key.type()) {
    case ItemType::kInode: {
      Touched& touched = touched_[key.ino()];
      touched.inode_differs = true;
      if (a != nullptr) {
        PRISM_ASSIGN(touched.a, DecodeInode(key.ino(), *a));
      }
      if (b != nullptr) {
        PRISM_ASSIGN(touched.b, DecodeInode(key.ino(), *b));
      }
      return {};
    }
    case ItemType::kDirEntry:
      for (const std::string_view* value : {a, b}) {
        if (value == nullptr) continue;
        PRISM_ASSIGN(const EntryValue entry, DecodeEntry(*value));
        (value == a ? removed_ : added_)
            .push_back({key.ino(), key.lo, entry.ino, entry.type, std::string(entry.name), {}});
      }
      return {};
    case ItemType::kExtent:
    case ItemType::kInlineData:
    case ItemType::kSymlink:
      touched_[key.ino()].body = true;
      touched_[key.ino()].blocks.push_back(key.lo);
      return {};
    case ItemType::kXattr:
      touched_[key.ino()].xattrs = true;
      return {};
    case ItemType::kParent:
    case ItemType::kOrphan:
    case ItemType::kRequest:
    case ItemType::kVolatile:
      return {};
  }
  return Fail(Err::kCorrupt);
}

Result<DiffResult> VolumeDiff::Finish() {
  PRISM_TRY(failed_);
  PRISM_TRY(FindPaths(a_, removed_));
  PRISM_TRY(FindPaths(b_, added_));
  PRISM_TRY(LoadRecords());
  PairByInode();  // first: what is in a directory that was renamed is not among the differences
  PairByPath();
  for (auto [from, to] : replaced_) {
    FileChange change{FileChange::Kind::kChanged, added_[to].path, {}, added_[to].type};
    PRISM_ASSIGN(const bool differs, Compare(change, removed_[from].ino, added_[to].ino));
    if (differs) PRISM_TRY(Add(std::move(change)));
  }
  for (auto [from, to] : renamed_) {
    FileChange change{FileChange::Kind::kRenamed, added_[to].path, removed_[from].path,
                      added_[to].type};
    PRISM_TRY(Compare(change, removed_[from].ino, added_[to].ino));
    PRISM_TRY(Add(std::move(change)));
  }
  for (const Entry& entry : removed_)
    if (!entry.paired) PRISM_TRY(Add({FileChange::Kind::kRemoved, entry.path, {}, entry.type}));
  for (const Entry& entry : added_)
    if (!entry.paired) PRISM_TRY(Add({FileChange::Kind::kAdded, entry.path, {}, entry.type}));
  PRISM_TRY(AddChangedInPlace());
  std::sort(result_.changes.begin(), result_.changes.end(),
            [](const FileChange& x, const FileChange& y) {
              return std::tie(x.path, x.kind) < std::tie(y.path, y.kind);
            });
  result_.truncated = result_.changes.size() > options_.changes_max;
  if (result_.truncated) result_.changes.resize(options_.changes_max);
  return std::move(result_);
}

Status VolumeDiff::Add(FileChange change) {
  switch (change.kind) {
    case FileChange::Kind::kAdded:
      ++result_.added;
      break;
    case FileChange::Kind::kRemoved:
      ++result_.removed;
      break;
    case FileChange::Kind::kRenamed:
      ++result_.renamed;
      break;
    case FileChange::Kind::kChanged:
      break;
  }
  result_.changed_data += change.data;
  result_.changed_attributes += change.attributes && !change.data;
  result_.changes.push_back(std::move(change));
  return {};
}

// By the way back from a directory to its name, upwards.
Result<std::string> VolumeDiff::PathOf(Side& side, const cow::ReadView& view, InodeId dir) {
  std::vector<std::pair<InodeId, std::string>> above;  // from below
  std::string path;
  for (InodeId at = dir; at != kRootInode;) {
    if (auto known = side.paths.find(at); known != side.paths.end()) {
      path = known->second;
      break;
    }
    if (above.size() > kPathDepthMax) return Fail(Err::kCorrupt);
    PRISM_ASSIGN(const ParentName parent, NameOfDirectory(view, at));
    above.emplace_back(at, parent.name);
    at = parent.dir;
  }
  for (auto step = above.rbegin(); step != above.rend(); ++step) {
    path += "/" + step->second;
    side.paths[step->first] = path;
  }
  return path;
}

Status VolumeDiff::FindPaths(Side& side, std::vector<Entry>& entries) {
  auto view = side.map.Read();
  for (Entry& entry : entries) {
    PRISM_ASSIGN(entry.path, PathOf(side, *view, entry.dir));
    entry.path += "/" + entry.name;
  }
  return {};
}

// Where only the body or the attributes of an inode differ, its record is the same on both sides.
Status VolumeDiff::LoadRecords() {
  auto view = b_.map.Read();
  for (auto& [ino, touched] : touched_) {
    if (touched.inode_differs) continue;
    auto record = LoadInodeEvenDying(*view, ino);
    if (!record && record.error() != Err::kStale) return Fail(record.error());
    if (record) touched.a = touched.b = *record;
  }
  return {};
}

// One name of one directory, wherever that is now; or one path, through whichever directories.
void VolumeDiff::PairByPath() {
  auto pair_by = [&](auto place_of) {
    std::unordered_map<std::string, size_t> by_place;
    for (size_t i = 0; i < added_.size(); ++i)
      if (!added_[i].paired) by_place[place_of(added_[i])] = i;
    for (size_t i = 0; i < removed_.size(); ++i) {
      if (removed_[i].paired) continue;
      auto found = by_place.find(place_of(removed_[i]));
      if (found == by_place.end()) continue;
      removed_[i].paired = added_[found->second].paired = true;
      replaced_.emplace_back(i, found->second);
    }
  };
  pair_by([&](const Entry& entry) {
    return SameFile(entry.dir) ? std::to_string(entry.dir) + "/" + entry.name : entry.path;
  });
  pair_by([](const Entry& entry) { return entry.path; });
}

void VolumeDiff::PairByInode() {
  std::unordered_multimap<InodeId, size_t> by_inode;
  for (size_t i = added_.size(); i-- > 0;)
    if (!added_[i].paired) by_inode.emplace(added_[i].ino, i);
  for (size_t i = 0; i < removed_.size(); ++i) {
    if (removed_[i].paired || !SameFile(removed_[i].ino)) continue;
    auto found = by_inode.find(removed_[i].ino);
    if (found == by_inode.end()) continue;
    removed_[i].paired = added_[found->second].paired = true;
    renamed_.emplace_back(i, found->second);
    by_inode.erase(found);
  }
}

bool VolumeDiff::SameFile(InodeId ino) const {
  auto found = touched_.find(ino);
  if (found == touched_.end() || !found->second.inode_differs) return true;
  const Touched& touched = found->second;
  return IsAlive(touched.a) && IsAlive(touched.b) && touched.a->attr.type == touched.b->attr.type &&
         touched.a->attr.btime == touched.b->attr.btime;
}

// Those whose name is the same in both.
Status VolumeDiff::AddChangedInPlace() {
  std::set<std::pair<InodeId, uint64_t>> new_names;
  for (const Entry& entry : added_) new_names.emplace(entry.dir, entry.cookie);
  auto view = b_.map.Read();
  for (const auto& [ino, touched] : touched_) {
    if (!IsAlive(touched.a) || !IsAlive(touched.b)) continue;
    FileChange change{.type = touched.b->attr.type};
    PRISM_ASSIGN(const bool differs, CompareSame(change, touched, ino));
    if (!differs) continue;
    if (ino == kRootInode) {
      change.path = "/";
      PRISM_TRY(Add(change));
      continue;
    }
    PRISM_ASSIGN(const std::vector<ParentName> names, NamesOf(*view, ino));
    for (const ParentName& name : names) {
      if (new_names.contains({name.dir, name.cookie})) continue;
      PRISM_ASSIGN(change.path, PathOf(b_, *view, name.dir));
      change.path += "/" + name.name;
      PRISM_TRY(Add(change));
    }
  }
  return {};
}

Result<bool> VolumeDiff::CompareSame(FileChange& change, const Touched& touched, InodeId ino) {
  change.old_size = BodySize(*touched.a);
  change.new_size = BodySize(*touched.b);
  change.attributes = touched.xattrs || !SameAttributes(*touched.a, *touched.b);
  change.data = touched.body || change.old_size != change.new_size;
  const bool same_type = touched.a->attr.type == touched.b->attr.type;
  if (change.data && same_type) PRISM_TRY(CompareBytes(change, ino, ino, touched.blocks));
  return change.data || change.attributes;
}

Result<bool> VolumeDiff::Compare(FileChange& change, InodeId ino_a, InodeId ino_b) {
  auto found = touched_.find(ino_a);
  if (ino_a == ino_b) {
    if (found == touched_.end()) return false;
    return CompareSame(change, found->second, ino_a);
  }
  auto view_a = a_.map.Read();
  auto view_b = b_.map.Read();
  PRISM_ASSIGN(const InodeRecord a, LoadInode(*view_a, ino_a));
  PRISM_ASSIGN(const InodeRecord b, LoadInode(*view_b, ino_b));
  change.old_size = BodySize(a);
  change.new_size = BodySize(b);
  PRISM_ASSIGN(const bool same_xattrs, SameXattrs(*view_a, ino_a, *view_b, ino_b));
  change.attributes = !same_xattrs || !SameAttributes(a, b);
  std::vector<uint64_t> blocks;
  PRISM_ASSIGN(const bool same_body, SameBody(*view_a, ino_a, *view_b, ino_b, blocks));
  change.data = !same_body || change.old_size != change.new_size;
  view_a.reset();  // the bytes are read through views of their own
  view_b.reset();
  const bool same_type = a.attr.type == b.attr.type;
  if (change.data && same_type) PRISM_TRY(CompareBytes(change, ino_a, ino_b, std::move(blocks)));
  return change.data || change.attributes;
}

}  // namespace prism::fs
