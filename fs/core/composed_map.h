// A composed volume's map: its own tree, what is grafted into it, and nothing else.
//
// NOTHING OUTSIDE: an inode of a part is there only if its way up, by kParent items, ends at the
// volume's root. A graft's way up leads through its own root into the volume, because the rules
// gave that a parent here; whatever else the part holds ends at the source's root, or at a
// directory that was taken out, which have none. So every kInode item that is asked for by number
// is checked, and the answer is remembered: what is inside stays inside, wherever it is moved.
// Since every operation loads an inode before it looks at anything else of it, this holds for all
// of them.
//
// Hard links that lead out of the chosen parts are as after `cp -a`: a file's nlink counts the
// names that are inside, and its other names are not shown.
//
// LOCKS: the own tree's alone; parts never change (clone/volume.cc).
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "cow/volume_map.h"
#include "fs/core/grafted_tree.h"

namespace prism::fs {

class ComposedMap : public cow::VolumeMap {
 public:
  // partial: not all of the own tree is reachable (clone::Composition).
  ComposedMap(std::shared_ptr<cow::VolumeMap> own, GraftedTree tree, bool partial)
      : own_(std::move(own)), tree_(std::move(tree)), partial_(partial) {}

  std::unique_ptr<cow::ReadView> Read() override;
  // Changes of what belongs to a read-only graft are kReadOnly when they are committed.
  std::unique_ptr<cow::WriteTransaction> Write() override { return Begin(false); }
  // These too, and read-only volumes: for those who carry out the rules.
  std::unique_ptr<cow::WriteTransaction> WriteAnything() { return Begin(true); }
  Status WaitDurable(Lsn lsn) override { return own_->WaitDurable(lsn); }
  Lsn LastLsn() override { return own_->LastLsn(); }
  cow::VolumeUsage Usage() override { return own_->Usage(); }
  bool read_only() const override { return own_->read_only(); }
  bool read_only(InodeId ino) const override;
  bool is_grafted(InodeId ino) const override { return tree_.Find(ino) != nullptr; }
  bool destroyed() const override { return own_->destroyed(); }
  std::pair<uint64_t, uint64_t> hash_key() const override { return own_->hash_key(); }
  std::pair<uint64_t, uint64_t> hash_key(InodeId ino) const override;

  const GraftedTree& tree() const { return tree_; }
  cow::VolumeMap& own() { return *own_; }
  // Something has been taken out since the last look. REQUIRES: nobody else looks.
  void ForgetInside();
  // From now on everything fails so: what should have been taken out could not be.
  void Break(Err err) { broken_.store(err, std::memory_order_release); }

 private:
  friend class ComposedReader;
  friend class ComposedTransaction;
  // A power of two; more would be asked for again.
  static constexpr size_t kInsideSlots = size_t{1} << 13;

  std::unique_ptr<cow::WriteTransaction> Begin(bool anything);
  bool IsChecked(InodeId ino) const {
    return ino != kRootInode && (partial_ || tree_.Find(ino) != nullptr);
  }
  std::atomic<InodeId>& Slot(InodeId ino) { return inside_[(ino ^ (ino >> 40)) % kInsideSlots]; }
  bool IsKnownInside(InodeId ino) {
    return !IsChecked(ino) || Slot(ino).load(std::memory_order_relaxed) == ino;
  }
  void Remember(InodeId ino) { Slot(ino).store(ino, std::memory_order_relaxed); }

  const std::shared_ptr<cow::VolumeMap> own_;
  const GraftedTree tree_;
  const bool partial_;
  std::atomic<Err> broken_{Err::kOk};
  std::array<std::atomic<InodeId>, kInsideSlots> inside_{};
};

}  // namespace prism::fs
