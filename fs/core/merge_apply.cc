#include "fs/core/merge_apply.h"

#include <algorithm>

#include "fs/core/directory.h"
#include "fs/core/file_limits.h"
#include "fs/core/times.h"

namespace prism::fs {
namespace {

using cow::EndKey;
using cow::ItemType;
using cow::Key;
using cow::MakeKey;

constexpr size_t kBytesPerStep = size_t{1} << 20;
constexpr uint32_t kXattrFlags = kHasXattrs | kHasAccessAcl | kHasDefaultAcl | kHasCapability;

void TakeData(InodeRecord& record, const InodeRecord& from) {
  record.attr.size = from.attr.size;
  record.attr.mtime = from.attr.mtime;
  record.stored_size = from.stored_size;
  record.stored_used = from.stored_used;
  record.flags = (record.flags & ~uint32_t{kHasInlineData}) | (from.flags & kHasInlineData);
}

void TakeAttributes(InodeRecord& record, const InodeRecord& from) {
  record.attr.mode = from.attr.mode;
  record.attr.uid = from.attr.uid;
  record.attr.gid = from.attr.gid;
  record.attr.rdev_major = from.attr.rdev_major;
  record.attr.rdev_minor = from.attr.rdev_minor;
  record.flags = (record.flags & ~kXattrFlags) | (from.flags & kXattrFlags);
  record.xattr_name_bytes = from.xattr_name_bytes;
}

}  // namespace

Status MergeApply::Begin() {
  if (transaction_ == nullptr) transaction_ = branch_.Write();
  for (; reserved_ > 0; --reserved_) transaction_->AllocateInode();
  return {};
}

Status MergeApply::End() {
  if (transaction_ == nullptr) return {};
  auto committed = transaction_->Commit();
  transaction_.reset();
  items_ = bytes_ = 0;
  PRISM_TRY(committed);
  return {};
}

Status MergeApply::Step(size_t items, size_t bytes) {
  if (items_ + items > kItemsPerStep || bytes_ + bytes > kBytesPerStep) PRISM_TRY(End());
  items_ += items;
  bytes_ += bytes;
  return Begin();
}

Status MergeApply::Run() {
  PRISM_TRY(CountGrowth());
  PRISM_TRY(PutFiles());
  PRISM_TRY(RemoveNames());  // all before AddNames: a directory has one way back
  PRISM_TRY(AddNames());
  PRISM_TRY(DropFiles());
  PRISM_TRY(PutRequests());
  return End();
}

Result<FileType> MergeApply::TypeOf(InodeId ino) {
  const MergeNode& node = plan_.nodes().at(ino);
  const Side side = node.source[node.data_from] != 0 ? node.data_from
                    : node.source[kTheirs] != 0      ? kTheirs
                                                     : kMine;
  PRISM_ASSIGN(const InodeRecord* record, sides_.Record(side, node.source[side]));
  if (record == nullptr) return Fail(Err::kCorrupt);
  return record->attr.type;
}

Status MergeApply::CountGrowth() {
  for (const MergeSlot& slot : plan_.slots()) {
    if (slot.there == slot.result) continue;
    Growth& growth = growth_[slot.dir];
    if (slot.there != 0) {
      PRISM_ASSIGN(const InodeRecord* record, sides_.Record(kTheirs, slot.there));
      if (record == nullptr) return Fail(Err::kCorrupt);
      --growth.entries;
      growth.directories -= record->attr.type == FileType::kDirectory;
    }
    if (slot.result != 0) {
      PRISM_ASSIGN(const FileType type, TypeOf(slot.result));
      ++growth.entries;
      growth.directories += type == FileType::kDirectory;
    }
  }
  return {};
}

Status MergeApply::PutFiles() {
  for (const auto& [ino, node] : plan_.nodes()) {
    if (node.names == 0) continue;
    Change change{ino, &node, nullptr, nullptr, node.source[kTheirs] == ino};
    PRISM_ASSIGN(change.mine, sides_.Record(kMine, node.source[kMine]));
    PRISM_ASSIGN(change.theirs, sides_.Record(kTheirs, node.source[kTheirs]));
    if (NeedsWriting(change)) PRISM_TRY(PutFile(change));
  }
  return {};
}

bool MergeApply::NeedsWriting(const Change& change) const {
  if (!change.there || growth_.contains(change.ino)) return true;
  const MergeNode& node = *change.node;
  if (node.data_from == kMine || node.attributes_from == kMine) return true;
  if (change.theirs->attr.type != FileType::kDirectory &&
      node.names != int64_t{change.theirs->attr.nlink})
    return true;
  return change.mine != nullptr && sides_.touched(kMine).contains(node.source[kMine]) &&
         !sides_.touched(kTheirs).contains(node.source[kTheirs]);
}

// Where theirs has not touched it, it stays what it was in mine, with all its times; the other way
// round as well. What has come together is new as of now.
Result<InodeRecord> MergeApply::MergeRecords(const Change& change) {
  const MergeNode& node = *change.node;
  const auto [base, mine, theirs] = node.source;
  const bool all_mine = node.data_from == kMine && node.attributes_from == kMine;
  const bool theirs_same = base != 0 && theirs == base && !sides_.touched(kTheirs).contains(base);
  const bool mine_same = base != 0 && mine == base && !sides_.touched(kMine).contains(base);
  InodeRecord record;
  if (change.theirs == nullptr ||
      (change.mine != nullptr && (all_mine || (theirs_same && !node.decided)))) {
    record = *change.mine;
  } else {
    record = *change.theirs;
    if (change.mine != nullptr && !mine_same && !node.decided) {
      if (node.data_from == kMine) TakeData(record, *change.mine);
      if (node.attributes_from == kMine) TakeAttributes(record, *change.mine);
      if (record.attr.type == FileType::kDirectory)
        record.attr.mtime = std::max(change.mine->attr.mtime, change.theirs->attr.mtime);
      record.attr.ctime = Now();
      record.attr.change = std::max(change.mine->attr.change, change.theirs->attr.change) + 1;
    }
  }
  record.attr.ino = change.ino;
  if (record.attr.type != FileType::kDirectory) {
    record.attr.nlink = static_cast<uint32_t>(node.names);
    return record;
  }
  if (change.theirs != nullptr && record.attr.change == change.theirs->attr.change) {
    record.attr.mtime = record.attr.ctime = Now();  // its entries change, and nothing else says so
    ++record.attr.change;
  }
  const auto growth = growth_.find(change.ino);
  const Growth grown = growth == growth_.end() ? Growth{} : growth->second;
  const uint64_t size = change.there ? change.theirs->attr.size : 0;
  const int64_t links = change.there ? change.theirs->attr.nlink : 2;
  record.attr.size = size + static_cast<uint64_t>(grown.entries) * kEntrySize;
  record.attr.nlink = static_cast<uint32_t>(links + grown.directories);
  return record;
}

Status MergeApply::PutFile(const Change& change) {
  const MergeNode& node = *change.node;
  PRISM_ASSIGN(InodeRecord record, MergeRecords(change));
  const Side data_from = change.theirs == nullptr ? kMine : node.data_from;
  const Side attributes_from = change.theirs == nullptr ? kMine : node.attributes_from;
  const bool has_body = record.attr.type != FileType::kDirectory;
  const bool copies_body = has_body && !(change.there && data_from == kTheirs);

  if (copies_body) {
    if (change.there) {
      for (ItemType type : {ItemType::kExtent, ItemType::kInlineData, ItemType::kSymlink})
        PRISM_TRY(EraseItems(type, change.ino));
    }
    for (ItemType type : {ItemType::kExtent, ItemType::kInlineData, ItemType::kSymlink})
      PRISM_TRY(CopyItems(type, data_from, node.source[data_from], change.ino));
    TakeData(record, data_from == kMine ? *change.mine : *change.theirs);
  }
  if (!change.there || attributes_from == kMine) {
    if (change.there) PRISM_TRY(EraseItems(ItemType::kXattr, change.ino));
    PRISM_TRY(
        CopyItems(ItemType::kXattr, attributes_from, node.source[attributes_from], change.ino));
    TakeAttributes(record, attributes_from == kMine ? *change.mine : *change.theirs);
  }
  PRISM_TRY(Step(1, 0));
  const uint64_t used = change.there ? change.theirs->stored_used : 0;
  transaction_->AddUsage(change.there ? 0 : 1, static_cast<int64_t>(record.stored_used - used));
  StoreInode(*transaction_, record);
  return {};
}

// REQUIRES: none of them has been put by this transaction; then they may be, after it.
Status MergeApply::EraseItems(ItemType type, InodeId ino) {
  for (bool more = true; more;) {
    PRISM_TRY(Step(1, 0));
    more = false;
    size_t found = 0;
    Key end = EndKey(type, ino);
    PRISM_TRY(transaction_->Scan(MakeKey(type, ino), end, [&](Key key, std::string_view) {
      if (found++ < kItemsPerStep) return true;
      end = key;
      more = true;
      return false;
    }));
    if (found > 0) transaction_->EraseRange(MakeKey(type, ino), end);
    if (more) PRISM_TRY(End());
  }
  return {};
}

Status MergeApply::CopyItems(ItemType type, Side side, InodeId from, InodeId to) {
  Status put;
  PRISM_TRY(sides_.view(side).Scan(
      MakeKey(type, from), EndKey(type, from), [&](Key key, std::string_view value) {
        put = Step(1, value.size());
        if (put) transaction_->Put(MakeKey(type, to, key.lo), std::string(value));
        return put.has_value();
      }));
  return put;
}

Status MergeApply::RemoveNames() {
  for (const MergeSlot& slot : plan_.slots()) {
    if (slot.there == slot.result || slot.there == 0) continue;
    PRISM_TRY(Step(2, 0));
    PRISM_ASSIGN(const FoundEntry entry, FindEntry(*transaction_, key_, slot.dir, slot.name));
    EraseEntry(*transaction_, slot.dir, entry.cookie);
    PRISM_TRY(RemoveParent(*transaction_, entry.ino, entry.type, slot.dir, entry.cookie));
  }
  return {};
}

Status MergeApply::AddNames() {
  for (const MergeSlot& slot : plan_.slots()) {
    if (slot.there == slot.result || slot.result == 0) continue;
    PRISM_ASSIGN(const FileType type, TypeOf(slot.result));
    PRISM_TRY(Step(2, slot.name.size()));
    PRISM_ASSIGN(const EntryProbe probe, ProbeEntry(*transaction_, key_, slot.dir, slot.name));
    if (probe.found) return Fail(Err::kCorrupt);
    if (probe.free_cookie == 0) return Fail(Err::kNoSpace);
    PutEntry(*transaction_, slot.dir, probe.free_cookie, slot.result, type, slot.name);
    PRISM_TRY(AddParent(*transaction_, slot.result, type, slot.dir, probe.free_cookie));
  }
  return {};
}

// What theirs has and the result has not. The reaper of whoever gets the branch frees them.
Status MergeApply::DropFiles() {
  for (const auto& [ino, node] : plan_.nodes()) {
    const InodeId theirs = node.source[kTheirs];
    if (theirs != 0 && (node.names == 0 || theirs != ino)) PRISM_TRY(DropFile(theirs));
  }
  return {};
}

Status MergeApply::DropFile(InodeId ino) {
  PRISM_TRY(Step(2, 0));
  PRISM_ASSIGN(InodeRecord record, LoadInode(*transaction_, ino));
  record.attr.nlink = 0;
  StoreInode(*transaction_, record);
  transaction_->Put(MakeKey(ItemType::kOrphan, ino), std::string());
  return {};
}

// So that a request that a client of mine repeats is known (fs/core/request_log.h).
Status MergeApply::PutRequests() {
  for (const auto& [key, value] : sides_.requests(kMine)) {
    PRISM_TRY(Step(1, value.size()));
    transaction_->Put(key, value);
  }
  return {};
}

}  // namespace prism::fs
