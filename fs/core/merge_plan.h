// Decides what comes out of a merge (fs/core/merge.h): for every name and file that differs
// anywhere, before anything is changed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "fs/core/merge.h"
#include "fs/core/merge_path.h"
#include "fs/core/merge_sides.h"

namespace prism::fs {

// One name of which not all sides say the same.
struct MergeSlot {
  InodeId dir = 0;
  std::string name;
  SideInodes ino{};    // as MergeNode numbers
  InodeId there = 0;   // what theirs has, by its own number
  InodeId result = 0;  // a MergeNode; 0: no such name
  bool decided = false;
};

// One file of the result, or one that does not come to be in it. Its number there is its key.
struct MergeNode {
  SideInodes source{};        // its number on each side; 0: absent there
  std::vector<size_t> slots;  // those that mention it
  Side data_from = kTheirs;
  Side attributes_from = kTheirs;
  bool decided = false;
  int64_t names = 0;  // that it has in the result; 0: it is not in it
};

using MergeNodes = std::map<InodeId, MergeNode>;

// For one thread, once.
class MergePlan {
 public:
  MergePlan(MergeSides& sides, OnConflict on_conflict)
      : sides_(sides), decide_for_(on_conflict == OnConflict::kMine ? kMine : kTheirs) {}

  // Conflicts are in `report`; those of OnConflict::kStop are decided for theirs, so that all are
  // found: the plan must not be carried out then.
  Status Make(MergeReport& report);
  // Only what was chosen is as in mine.
  Status MakeFor(const PathChoice& choice, MergeReport& report);

  const std::vector<MergeSlot>& slots() const { return slots_; }
  const MergeNodes& nodes() const { return nodes_; }

 private:
  struct Name {
    SideInodes ino{};
    InodeId there = 0;
  };
  using Names = std::map<PlaceName, Name>;

  // merge_unite.cc: one number for what is one file in the sense of fs/core/merge.h
  Status Unite();
  Status UniteAt(const PlaceName& place, Name& name, std::vector<PlaceName>& again);
  Result<bool> UniteNew(const PlaceName& place, Name& name, std::vector<PlaceName>& again);
  Result<bool> UniteReplaced(Name& name, Side replaced_by);
  Result<bool> IsLone(Side side, InodeId ino, FileType type);
  Result<bool> IsAbsent(Side side, InodeId ino);
  void MoveNames(InodeId from, InodeId to, std::vector<PlaceName>& again);

  Status Gather();
  Status Decide(MergeReport& report);
  Result<MergeNode*> NodeOf(InodeId ino);

  Status DecideSlot(size_t index);
  Status DecideNode(InodeId ino, MergeNode& node);
  Status DecideShared(InodeId ino, MergeNode& node);
  Status DecideAbsent(InodeId ino, MergeNode& node, Side absent);
  bool MovedApart(InodeId ino, const MergeNode& node) const;
  Status CountNames();
  Status CheckDirectories();
  Status CheckContainers();
  Status CheckCycles();
  Result<InodeId> ParentInResult(InodeId dir);
  void Take(Side side, std::vector<InodeId> nodes);

  // merge_words.cc
  Status Conflict(InodeId ino, const MergeNode& node);
  Status Conflict(const MergeSlot& slot);
  void Add(MergeConflict conflict);
  Result<std::string> PathOf(const MergeNode& node);
  Result<std::string> Say(Side side, InodeId ino, const MergeNode& node);
  Result<std::string> Say(Side side, const MergeSlot& slot);
  Status Count(MergeReport& report);

  MergeSides& sides_;
  const Side decide_for_;
  Names names_;
  std::unordered_map<InodeId, SideInodes> united_;  // the sources of a node of several numbers
  std::unordered_map<InodeId, InodeId> number_of_;  // of those, the others' way to it
  std::vector<MergeSlot> slots_;
  MergeNodes nodes_;
  bool progress_ = false;
  bool conflict_ = false;
  std::map<std::string, MergeConflict> conflicts_;  // by path
};

}  // namespace prism::fs
