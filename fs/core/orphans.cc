#include "fs/core/orphans.h"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace prism::fs {
namespace {

using cow::EndKey;
using cow::ItemType;
using cow::MakeKey;

}  // namespace

Status Orphans::Release(ClientId client, InodeId ino) {
  switch (holds_.Remove(client, ino)) {
    case Holds::Drop::kNotHeld:
      return Fail(Err::kInvalid);
    case Holds::Drop::kStillHeld:
      return {};
    case Holds::Drop::kLast:
      break;
  }
  FreeSoon(ino);
  return {};
}

void Orphans::FreeSoon(InodeId ino) {
  auto freed = FreeStep(ino);
  if (freed && *freed) return;
  std::lock_guard lock(mutex_);
  unheld_.push_back(ino);
}

void Orphans::BeforeUnlinked(InodeId ino, std::vector<ClientId> holders) {
  if (!holders.empty()) holds_.Set(ino, std::move(holders));
}

void Orphans::AfterUnlinked(InodeId ino) {
  if (!holds_.Contains(ino)) FreeSoon(ino);
}

void Orphans::Detach(ClientId client) {
  // It will come back: what waits to be written of what it holds still belongs to a file.
  if (keeps_.load(std::memory_order_relaxed)) return;
  const std::vector<InodeId> last = holds_.RemoveAll(client);
  std::lock_guard lock(mutex_);
  unheld_.insert(unheld_.end(), last.begin(), last.end());
}

Status Orphans::ScanLeftovers(FunctionRef<void(InodeId)> visitor) {
  auto view = map_.Read();
  return view->Scan(MakeKey(ItemType::kOrphan, 0), EndKey(ItemType::kOrphan, kInodeMax),
                    [&](cow::Key key, std::string_view) {
                      visitor(key.ino());
                      return true;
                    });
}

Status Orphans::Claim(ClientId client) {
  std::lock_guard reap_lock(reap_mutex_);
  if (searched_) return {};
  return ScanLeftovers([&](InodeId ino) { holds_.Add(ino, client); });
}

Status Orphans::TreeReplaced() {
  std::lock_guard reap_lock(reap_mutex_);
  searched_ = false;
  auto view = map_.Read();  // nothing is being unlinked while it lives
  for (InodeId ino : holds_.Inodes()) {
    auto record = LoadInodeEvenDying(*view, ino);
    if (!record && record.error() != Err::kStale) return Fail(record.error());
    if (!record || record->attr.nlink > 0) holds_.Forget(ino);
  }
  return {};
}

Status Orphans::FindLeftovers() {
  if (searched_) return {};
  std::lock_guard lock(mutex_);
  PRISM_TRY(ScanLeftovers([&](InodeId ino) {
    if (!holds_.Contains(ino)) unheld_.push_back(ino);
  }));
  searched_ = true;
  return {};
}

Result<bool> Orphans::Reap(size_t steps, bool all) {
  if (map_.read_only() || map_.destroyed() || keeps_.load(std::memory_order_relaxed)) return false;
  std::lock_guard reap_lock(reap_mutex_);
  if (all || Clock::now() >= leftovers_from_) PRISM_TRY(FindLeftovers());
  for (; steps > 0; --steps) {
    InodeId ino = 0;
    {
      std::lock_guard lock(mutex_);
      if (unheld_.empty()) return false;
      ino = unheld_.front();
    }
    PRISM_ASSIGN(const bool done, FreeStep(ino));
    std::lock_guard lock(mutex_);
    // Release may have added to the back meanwhile; only the reaper takes from the front.
    if (done) unheld_.pop_front();
  }
  std::lock_guard lock(mutex_);
  return !unheld_.empty();
}

// One transaction. True: nothing is left of the inode.
Result<bool> Orphans::FreeStep(InodeId ino) {
  data_.Discard(ino);
  auto transaction = map_.Write();
  const cow::Key orphan_key = MakeKey(ItemType::kOrphan, ino);
  auto record = LoadInodeEvenDying(*transaction, ino);
  if (!record || record->attr.nlink > 0) {
    if (!record && record.error() != Err::kStale) return Fail(record.error());
    transaction->Erase(orphan_key);
    PRISM_TRY(transaction->Commit());
    return true;
  }
  const cow::Key first = MakeKey(ItemType::kExtent, ino);
  cow::Key end = EndKey(ItemType::kExtent, ino);
  size_t items = 0;
  uint64_t used = 0;
  bool more = false;
  PRISM_TRY(transaction->Scan(first, end, [&](cow::Key key, std::string_view value) {
    if (items++ == kItemsPerStep) {
      end = key;
      more = true;
      return false;
    }
    // What does not decode counts as nothing: it must not keep the inode from going.
    if (auto pieces = cow::DecodeExtent(value)) used += UsedBytes(*pieces);
    return true;
  }));
  if (items > 0) transaction->EraseRange(first, end);
  if (more) {
    record->flags |= kDying;
    record->stored_used -= std::min(record->stored_used, used);
    StoreInode(*transaction, *record);
    transaction->AddUsage(0, -static_cast<int64_t>(used));
    PRISM_TRY(transaction->Commit());
    return false;
  }
  if ((record->flags & kHasXattrs) != 0)
    transaction->EraseRange(MakeKey(ItemType::kXattr, ino), EndKey(ItemType::kXattr, ino));
  if ((record->flags & kHasInlineData) != 0)
    transaction->Erase(MakeKey(ItemType::kInlineData, ino));
  if (record->attr.type == FileType::kSymlink) transaction->Erase(MakeKey(ItemType::kSymlink, ino));
  transaction->Erase(MakeKey(ItemType::kInode, ino));
  transaction->Erase(orphan_key);
  transaction->AddUsage(-1, -static_cast<int64_t>(record->stored_used));
  PRISM_TRY(transaction->Commit());
  return true;
}

}  // namespace prism::fs
