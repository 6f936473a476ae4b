// What a merge says of its conflicts, and how much it does.
#include <fmt/format.h>

#include "fs/core/merge_plan.h"

namespace prism::fs {

void MergePlan::Add(MergeConflict conflict) {
  conflicts_.try_emplace(conflict.path, std::move(conflict));
}

Result<std::string> MergePlan::PathOf(const MergeNode& node) {
  for (Side side : {kMine, kTheirs, kBase})
    if (node.source[side] != 0) return sides_.PathOf(side, node.source[side]);
  return Fail(Err::kCorrupt);
}

Result<std::string> MergePlan::Say(Side side, InodeId ino, const MergeNode& node) {
  const InodeId base = node.source[kBase], own = node.source[side];
  if (own == 0) return std::string(base != 0 ? "deleted" : "not there");
  if (base == 0) return std::string("added");
  PRISM_ASSIGN(const FileDelta delta, sides_.Compare(kBase, base, side, own));
  std::string words;
  auto add = [&](std::string_view word) {
    words += words.empty() ? "" : ", ";
    words += word;
  };
  if (delta.data) add("changed data");
  if (delta.attributes) add("changed attributes");
  for (size_t index : node.slots) {
    const MergeSlot& slot = slots_[index];
    if (slot.ino[side] != ino || slot.ino[kBase] == ino) continue;
    PRISM_ASSIGN(const std::string path, sides_.PathOf(side, own));
    add("renamed to " + path);
    break;
  }
  return words.empty() ? "unchanged" : words;
}

Result<std::string> MergePlan::Say(Side side, const MergeSlot& slot) {
  const InodeId base = slot.ino[kBase], own = slot.ino[side];
  if (nodes_.at(slot.dir).source[side] == 0) return std::string("its directory is not there");
  if (own == 0) return std::string(base != 0 ? "deleted" : "not there");
  if (base == 0) return std::string("added");
  if (own != base) return std::string("replaced");
  return Say(side, own, nodes_.at(own));
}

Status MergePlan::Conflict(InodeId ino, const MergeNode& node) {
  MergeConflict conflict;
  PRISM_ASSIGN(conflict.path, PathOf(node));
  PRISM_ASSIGN(conflict.mine, Say(kMine, ino, node));
  PRISM_ASSIGN(conflict.theirs, Say(kTheirs, ino, node));
  Add(std::move(conflict));
  return {};
}

Status MergePlan::Conflict(const MergeSlot& slot) {
  MergeConflict conflict;
  PRISM_ASSIGN(conflict.path, PathOf(nodes_.at(slot.dir)));
  if (conflict.path != "/") conflict.path += "/";
  conflict.path += slot.name;
  PRISM_ASSIGN(conflict.mine, Say(kMine, slot));
  PRISM_ASSIGN(conflict.theirs, Say(kTheirs, slot));
  Add(std::move(conflict));
  return {};
}

Status MergePlan::Count(MergeReport& report) {
  for (const auto& [ino, node] : nodes_) {
    const auto [base, mine, theirs] = node.source;
    if (node.names == 0) {
      report.removed += theirs != 0;
      continue;
    }
    if (theirs == 0) {
      ++report.added;
      continue;
    }
    report.changed += node.data_from == kMine || node.attributes_from == kMine;
    for (size_t index : node.slots) {
      const MergeSlot& slot = slots_[index];
      if (slot.result != ino || slot.ino[kTheirs] == ino) continue;
      ++report.renamed;
      break;
    }
  }
  report.conflict_count = conflicts_.size();
  for (auto& [path, conflict] : conflicts_) {
    if (report.conflicts.size() == kConflictsListedMax) break;
    report.conflicts.push_back(std::move(conflict));
  }
  return {};
}

}  // namespace prism::fs
