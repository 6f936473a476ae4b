#include "fs/core/merge_plan.h"

#include <algorithm>
#include <set>

#include "fs/core/diff_items.h"
#include "fs/core/directory.h"

namespace prism::fs {

Status MergePlan::Make(MergeReport& report) {
  PRISM_TRY(sides_.failed());
  PRISM_TRY(Unite());
  PRISM_TRY(Gather());
  for (Side side : {kMine, kTheirs})
    for (InodeId ino : sides_.touched(side)) PRISM_TRY(NodeOf(ino));
  return Decide(report);
}

// Base and theirs are one there, so nothing is in conflict: files that were not chosen are decided
// for theirs, whatever mine has of them.
Status MergePlan::MakeFor(const PathChoice& choice, MergeReport& report) {
  PRISM_TRY(sides_.failed());
  for (const auto& [place, inodes] : choice.names) names_[place] = {inodes, inodes[kTheirs]};
  for (const auto& [mine, number] : choice.copies) united_[number] = {0, mine, 0};
  PRISM_TRY(Gather());
  for (InodeId ino : choice.restored) PRISM_TRY(NodeOf(ino));
  for (auto& [ino, node] : nodes_)
    node.decided = !choice.restored.contains(ino) && !united_.contains(ino);
  PRISM_TRY(Decide(report));
  if (report.conflict_count > 0) return Fail(Err::kCorrupt);
  return {};
}

Status MergePlan::Decide(MergeReport& report) {
  for (size_t i = 0; i < slots_.size(); ++i) PRISM_TRY(DecideSlot(i));
  for (auto& [ino, node] : nodes_)
    if (!node.decided) PRISM_TRY(DecideNode(ino, node));
  // What is decided for a side can put names into directories that are not, and the other way
  // round: until nothing is found any more. Each round decides more, so it ends.
  do {
    progress_ = conflict_ = false;
    PRISM_TRY(CountNames());
    PRISM_TRY(CheckDirectories());
    if (!conflict_) PRISM_TRY(CheckContainers());
    if (!conflict_) PRISM_TRY(CheckCycles());
    if (conflict_ && !progress_) return Fail(Err::kCorrupt);
  } while (conflict_);
  return Count(report);
}

Result<MergeNode*> MergePlan::NodeOf(InodeId ino) {
  if (auto number = number_of_.find(ino); number != number_of_.end()) ino = number->second;
  auto [found, is_new] = nodes_.try_emplace(ino);
  if (!is_new) return &found->second;
  if (auto united = united_.find(ino); united != united_.end()) {
    found->second.source = united->second;
    return &found->second;
  }
  for (Side side : {kBase, kMine, kTheirs}) {
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(side, ino));
    if (record != nullptr) found->second.source[side] = ino;
  }
  // One number, two files: their makers' numbers have run into each other.
  const SideInodes& source = found->second.source;
  if (source[kBase] == 0 && source[kMine] != 0 && source[kTheirs] != 0) {
    PRISM_ASSIGN(const InodeRecord* mine, sides_.Record(kMine, ino));
    PRISM_ASSIGN(const InodeRecord* theirs, sides_.Record(kTheirs, ino));
    if (mine->attr.btime != theirs->attr.btime) return Fail(Err::kNotSupported);
  }
  return &found->second;
}

Status MergePlan::Gather() {
  for (const auto& [place, name] : names_) {
    MergeSlot slot{place.first, place.second, name.ino, name.there, name.ino[kTheirs], false};
    for (InodeId& ino : slot.ino)
      if (auto number = number_of_.find(ino); number != number_of_.end()) ino = number->second;
    PRISM_TRY(NodeOf(slot.dir));
    const std::set<InodeId> mentioned(slot.ino.begin(), slot.ino.end());
    for (InodeId ino : mentioned) {
      if (ino == 0) continue;
      PRISM_ASSIGN(MergeNode * node, NodeOf(ino));
      node->slots.push_back(slots_.size());
    }
    slots_.push_back(std::move(slot));
  }
  return {};
}

Status MergePlan::DecideSlot(size_t index) {
  MergeSlot& slot = slots_[index];
  const auto [base, mine, theirs] = slot.ino;
  if (slot.decided) return {};
  slot.result = theirs == base ? mine : theirs;
  if (mine == theirs || mine == base || theirs == base) return {};
  PRISM_TRY(Conflict(slot));
  Take(decide_for_, {slot.ino.begin(), slot.ino.end()});
  return {};
}

Status MergePlan::DecideNode(InodeId ino, MergeNode& node) {
  const auto [base, mine, theirs] = node.source;
  if (mine != 0 && theirs != 0) return DecideShared(ino, node);
  if (theirs == 0) node.data_from = node.attributes_from = kMine;
  if (base == 0 || (mine == 0 && theirs == 0)) return {};
  return DecideAbsent(ino, node, mine == 0 ? kMine : kTheirs);
}

Status MergePlan::DecideShared(InodeId ino, MergeNode& node) {
  const auto [base, mine, theirs] = node.source;
  FileDelta in_mine{true, true}, in_theirs{true, true};
  if (base != 0) {
    PRISM_ASSIGN(in_mine, sides_.Compare(kBase, base, kMine, mine));
    PRISM_ASSIGN(in_theirs, sides_.Compare(kBase, base, kTheirs, theirs));
  }
  FileDelta differ;
  if (in_mine.any() && in_theirs.any()) {
    PRISM_ASSIGN(differ, sides_.Compare(kMine, mine, kTheirs, theirs));
  }
  if (in_mine.data && !in_theirs.data) node.data_from = kMine;
  if (in_mine.attributes && !in_theirs.attributes) node.attributes_from = kMine;
  const bool conflict = (in_mine.data && in_theirs.data && differ.data) ||
                        (in_mine.attributes && in_theirs.attributes && differ.attributes) ||
                        MovedApart(ino, node);
  if (!conflict) return {};
  PRISM_TRY(Conflict(ino, node));
  Take(decide_for_, {ino});
  return {};
}

// Both sides have taken the same name away, and given different ones.
bool MergePlan::MovedApart(InodeId ino, const MergeNode& node) const {
  bool both_left = false;
  std::set<size_t> added_mine, added_theirs;
  for (size_t index : node.slots) {
    const auto [base, mine, theirs] = slots_[index].ino;
    both_left = both_left || (base == ino && mine != ino && theirs != ino);
    if (base != ino && mine == ino) added_mine.insert(index);
    if (base != ino && theirs == ino) added_theirs.insert(index);
  }
  return both_left && !added_mine.empty() && !added_theirs.empty() && added_mine != added_theirs;
}

// One side has deleted it. The other's changes must not go with it.
Status MergePlan::DecideAbsent(InodeId ino, MergeNode& node, Side absent) {
  const Side present = absent == kMine ? kTheirs : kMine;
  PRISM_ASSIGN(const FileDelta delta,
               sides_.Compare(kBase, node.source[kBase], present, node.source[present]));
  const bool named = std::any_of(node.slots.begin(), node.slots.end(), [&](size_t index) {
    const MergeSlot& slot = slots_[index];
    return slot.ino[kBase] != ino && slot.ino[present] == ino;
  });
  if (!delta.any() && !named) return {};
  PRISM_TRY(Conflict(ino, node));
  Take(decide_for_, {ino});
  return {};
}

// These, and all that names connect with them, are as that side has them.
void MergePlan::Take(Side side, std::vector<InodeId> nodes) {
  while (!nodes.empty()) {
    const InodeId ino = nodes.back();
    nodes.pop_back();
    auto found = nodes_.find(ino);
    if (found == nodes_.end() || found->second.decided) continue;
    MergeNode& node = found->second;
    node.decided = progress_ = true;
    node.data_from = node.attributes_from = side;
    for (size_t index : node.slots) {
      MergeSlot& slot = slots_[index];
      slot.decided = true;
      slot.result = slot.ino[side];
      nodes.insert(nodes.end(), slot.ino.begin(), slot.ino.end());
    }
  }
}

Status MergePlan::CountNames() {
  for (auto& [ino, node] : nodes_) {
    node.names = 0;
    if (node.source[kTheirs] == 0) continue;
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kTheirs, node.source[kTheirs]));
    node.names = record->attr.type == FileType::kDirectory ? 1 : int64_t{record->attr.nlink};
  }
  for (const MergeSlot& slot : slots_) {
    if (slot.result == slot.ino[kTheirs]) continue;
    if (slot.ino[kTheirs] != 0) --nodes_.at(slot.ino[kTheirs]).names;
    if (slot.result != 0) ++nodes_.at(slot.result).names;
  }
  return {};
}

// A directory has one name.
Status MergePlan::CheckDirectories() {
  for (auto& [ino, node] : nodes_) {
    const Side side = node.source[kTheirs] != 0 ? kTheirs : kMine;
    if (node.names <= 1 || node.source[side] == 0) continue;
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(side, node.source[side]));
    if (record->attr.type != FileType::kDirectory) continue;
    conflict_ = true;
    PRISM_TRY(Conflict(ino, node));
    Take(decide_for_, {ino});
  }
  return {};
}

// Nothing has a name in a directory that is not there.
Status MergePlan::CheckContainers() {
  for (size_t i = 0; i < slots_.size(); ++i) {
    MergeSlot& slot = slots_[i];
    if (slot.result == 0 || nodes_.at(slot.dir).names > 0) continue;
    conflict_ = true;
    PRISM_TRY(Conflict(slot));
    std::vector<InodeId> nodes(slot.ino.begin(), slot.ino.end());
    nodes.push_back(slot.dir);
    Take(decide_for_, std::move(nodes));
  }
  return {};
}

Result<InodeId> MergePlan::ParentInResult(InodeId dir) {
  if (auto found = nodes_.find(dir); found != nodes_.end())
    for (size_t index : found->second.slots)
      if (slots_[index].result == dir) return slots_[index].dir;
  return ParentOfDirectory(sides_.view(kTheirs), dir);
}

// No directory is within itself.
Status MergePlan::CheckCycles() {
  for (auto& [ino, node] : nodes_) {
    const bool moved = std::any_of(node.slots.begin(), node.slots.end(), [&](size_t index) {
      return slots_[index].result == ino && slots_[index].ino[kTheirs] != ino;
    });
    const InodeId mine = node.source[kMine];
    if (!moved || mine == 0 || node.source[kTheirs] == 0) continue;
    PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kMine, mine));
    if (record->attr.type != FileType::kDirectory) continue;
    std::vector<InodeId> above{ino};
    std::set<InodeId> seen{ino};
    while (above.back() != kRootInode) {
      PRISM_ASSIGN(const InodeId parent, ParentInResult(above.back()));
      if (!seen.insert(parent).second) break;
      above.push_back(parent);
    }
    if (above.back() == kRootInode) continue;
    conflict_ = true;
    PRISM_TRY(Conflict(ino, node));
    Take(decide_for_, std::move(above));
  }
  return {};
}

}  // namespace prism::fs
