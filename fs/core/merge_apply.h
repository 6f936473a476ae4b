// Carries a MergePlan out on a clone of theirs that nobody else sees.
#pragma once

#include <memory>
#include <unordered_map>

#include "cow/volume_map.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/merge_plan.h"

namespace prism::fs {

// Bodies are taken by reference to their chunks. Transactions are bounded, and so many that the
// branch is only good once all have succeeded. For one thread, once.
class MergeApply {
 public:
  MergeApply(MergeSides& sides, const MergePlan& plan, cow::VolumeMap& branch)
      : sides_(sides), plan_(plan), branch_(branch), key_(branch.hash_key()) {}

  // How many new numbers the plan has given out: the branch's next ones.
  void Reserve(uint64_t numbers) { reserved_ = numbers; }
  Status Run();

 private:
  struct Growth {  // of a directory
    int64_t entries = 0;
    int64_t directories = 0;
  };
  struct Change {  // of one file
    InodeId ino = 0;
    const MergeNode* node = nullptr;
    const InodeRecord* mine = nullptr;
    const InodeRecord* theirs = nullptr;
    bool there = false;  // the branch has it, by this number
  };

  Status Begin();
  Status Step(size_t items, size_t bytes);  // room for so much more in the transaction
  Status End();
  Status CountGrowth();
  Status PutFiles();
  Status PutFile(const Change& change);
  Result<InodeRecord> MergeRecords(const Change& change);
  bool NeedsWriting(const Change& change) const;
  Status EraseItems(cow::ItemType type, InodeId ino);
  Status CopyItems(cow::ItemType type, Side side, InodeId from, InodeId to);
  Status RemoveNames();
  Status AddNames();
  Status DropFiles();
  Status DropFile(InodeId ino);
  Status PutRequests();
  Result<FileType> TypeOf(InodeId ino);

  MergeSides& sides_;
  const MergePlan& plan_;
  cow::VolumeMap& branch_;
  const HashKey key_;
  uint64_t reserved_ = 0;
  std::unique_ptr<cow::WriteTransaction> transaction_;
  size_t items_ = 0, bytes_ = 0;  // in the transaction
  std::unordered_map<InodeId, Growth> growth_;
};

}  // namespace prism::fs
