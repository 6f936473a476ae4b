// Which numbers of the sides are one file of the result.
#include "fs/core/merge_plan.h"

namespace prism::fs {

Result<bool> MergePlan::IsAbsent(Side side, InodeId ino) {
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(side, ino));
  return record == nullptr;
}

// It is on that side, of this type, and has one name; directories have no other.
Result<bool> MergePlan::IsLone(Side side, InodeId ino, FileType type) {
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(side, ino));
  if (record == nullptr || record->attr.type != type) return false;
  return type == FileType::kDirectory || record->attr.nlink == 1;
}

Status MergePlan::Unite() {
  std::vector<PlaceName> again;
  for (const auto& [place, inodes] : sides_.Names()) {
    names_[place] = {inodes, inodes[kTheirs]};
    again.push_back(place);
  }
  while (!again.empty()) {
    const PlaceName place = std::move(again.back());
    again.pop_back();
    // A directory that both made takes the names in mine's number along.
    auto found = names_.find(place);
    if (found != names_.end()) PRISM_TRY(UniteAt(place, found->second, again));
  }
  return {};
}

Status MergePlan::UniteAt(const PlaceName& place, Name& name, std::vector<PlaceName>& again) {
  const auto [base, mine, theirs] = name.ino;
  if (mine == 0 || theirs == 0 || mine == theirs) return {};
  PRISM_ASSIGN(bool united, UniteNew(place, name, again));
  if (!united && theirs == base) {
    PRISM_ASSIGN(united, UniteReplaced(name, kMine));
  }
  if (!united && mine == base) PRISM_TRY(UniteReplaced(name, kTheirs));
  return {};
}

// Both sides have put a new file there.
Result<bool> MergePlan::UniteNew(const PlaceName&, Name& name, std::vector<PlaceName>& again) {
  const auto [base, mine, theirs] = name.ino;
  for (const auto& [side, ino] :
       {std::pair{kBase, mine}, {kBase, theirs}, {kTheirs, mine}, {kMine, theirs}}) {
    PRISM_ASSIGN(const bool absent, IsAbsent(side, ino));
    if (!absent) return false;
  }
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kMine, mine));
  if (record == nullptr) return Fail(Err::kCorrupt);
  const FileType type = record->attr.type;
  PRISM_ASSIGN(const bool mine_lone, IsLone(kMine, mine, type));
  PRISM_ASSIGN(const bool theirs_lone, IsLone(kTheirs, theirs, type));
  if (!mine_lone || !theirs_lone) return false;
  SideInodes sources{0, mine, theirs};
  number_of_[mine] = theirs;
  name.ino[kMine] = theirs;
  if (type == FileType::kDirectory) {
    united_[theirs] = sources;
    MoveNames(mine, theirs, again);
    return true;
  }
  PRISM_ASSIGN(const bool base_lone, IsLone(kBase, base, type));
  PRISM_ASSIGN(const bool gone_mine, IsAbsent(kMine, base));
  PRISM_ASSIGN(const bool gone_theirs, IsAbsent(kTheirs, base));
  if (base_lone && gone_mine && gone_theirs) {
    sources[kBase] = base;
    number_of_[base] = theirs;
    name.ino[kBase] = theirs;
  }
  united_[theirs] = sources;
  return true;
}

// One side has put a new file in the place of one that the other has kept.
Result<bool> MergePlan::UniteReplaced(Name& name, Side replaced_by) {
  const InodeId old = name.ino[kBase];
  const InodeId made = name.ino[replaced_by];
  const Side kept_by = replaced_by == kMine ? kTheirs : kMine;
  if (old == 0) return false;
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kBase, old));
  if (record == nullptr) return Fail(Err::kCorrupt);
  const FileType type = record->attr.type;
  if (type == FileType::kDirectory) return false;
  for (const auto& [side, ino] : {std::pair{kBase, old}, {kept_by, old}, {replaced_by, made}}) {
    PRISM_ASSIGN(const bool lone, IsLone(side, ino, type));
    if (!lone) return false;
  }
  for (const auto& [side, ino] : {std::pair{replaced_by, old}, {kBase, made}, {kept_by, made}}) {
    PRISM_ASSIGN(const bool absent, IsAbsent(side, ino));
    if (!absent) return false;
  }
  SideInodes sources{old, old, old};
  sources[replaced_by] = made;
  united_[made] = sources;
  number_of_[old] = made;
  name.ino = {made, made, made};
  return true;
}

void MergePlan::MoveNames(InodeId from, InodeId to, std::vector<PlaceName>& again) {
  for (auto at = names_.lower_bound({from, {}}); at != names_.end() && at->first.first == from;) {
    const PlaceName place{to, at->first.second};
    names_[place].ino[kMine] = at->second.ino[kMine];
    again.push_back(place);
    at = names_.erase(at);
  }
}

}  // namespace prism::fs
