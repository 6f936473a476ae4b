// The files of a composed volume, for a check: its own tree and those of its parts as one file
// system, as the tables have them and without the engine.
//
// What counts is what can be reached: from the root by the entries of directories, as everybody who
// looks at it goes. The rest of a part is none of the volume's, nor, in a partial one, is what was
// cut off from its own tree. Parts are volumes and are checked as such, so whatever else could be
// wrong here comes with an item of the volume's own tree: each of those is looked at, and where one
// hides or replaces a name, the file that had it. Cost: the volume's files, not its parts'.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "clone/records.h"
#include "cow/check_report.h"
#include "cow/kv.h"
#include "fs/core/composed_map.h"
#include "fs/core/volume_check.h"

namespace prism::fs {

// THREADS: one. Memory: some 50 bytes for each inode, beside the VolumeCheck's.
class ComposedCheck {
 public:
  using Rows = std::map<VolumeId, clone::VolumeRow>;
  // `whole`: the volumes whose trees can be read. Null: a part's cannot, which has been said.
  static std::unique_ptr<ComposedCheck> Open(cow::Kv& tables, const Rows& rows,
                                             const std::set<VolumeId>& whole,
                                             const clone::VolumeRow& row, std::string name,
                                             cow::CheckReport& report);

  // For the names in directories, which came with keys of their own.
  HashKeys keys() const { return HashKeys(*map_); }

  // Every item of the own tree, in order.
  void AddOwn(cow::Key key, std::string_view value);
  // After the last: gives `volume` every item of the volume that is seen. The caller finishes it.
  void GiveAll(VolumeCheck& volume);

  InodeId last_ino() const { return last_ino_; }  // without prefix: given out by the volume itself

 private:
  ComposedCheck(std::shared_ptr<ComposedMap> map, std::unique_ptr<cow::ReadView> own, bool partial,
                std::string name, cow::CheckReport& report)
      : map_(std::move(map)),
        own_(std::move(own)),
        partial_(partial),
        name_(std::move(name)),
        report_(report) {}

  const GraftedTree& tree() const { return map_->tree(); }
  // As ComposedMap: others are in the volume because they are in its tree.
  bool IsChecked(InodeId ino) const {
    return ino != kRootInode && (partial_ || tree().Find(ino) != nullptr);
  }
  void FindInside();
  bool HasNameInside(InodeId ino);
  void GiveRecord(VolumeCheck& volume, InodeId ino);
  void GiveItems(VolumeCheck& volume, cow::ItemType type, InodeId ino);
  void CannotRead(InodeId ino, Err err);

  const std::shared_ptr<ComposedMap> map_;
  const std::unique_ptr<cow::ReadView> own_;
  const bool partial_;
  const std::string name_;
  cow::CheckReport& report_;
  std::unordered_set<InodeId> touched_;  // inodes that the own tree says something of
  std::vector<InodeId> orphans_;
  std::unordered_set<InodeId> inside_;
  InodeId last_ino_ = 0;
};

}  // namespace prism::fs
