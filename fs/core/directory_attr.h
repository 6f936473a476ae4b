// What the change of an entry does to the attributes of its directory and of the file.
#pragma once

#include <cstdint>

#include "fs/contract/attr.h"
#include "fs/core/directory.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

// entries: how many more; subdirectories: how many of them are directories.
inline void TouchDirectory(Attr& dir, const Timespec& now, int entries, int subdirectories) {
  dir.size += static_cast<uint64_t>(entries) * kEntrySize;  // modular: also a negative number
  dir.nlink += static_cast<uint32_t>(subdirectories);
  dir.mtime = dir.ctime = now;
  ++dir.change;
}

inline void TouchInode(Attr& attr, const Timespec& now) {
  attr.ctime = now;
  ++attr.change;
}

// One name less; stores the record, and without a name left, that it is an orphan.
inline void DropLink(cow::WriteTransaction& transaction, InodeRecord& record, const Timespec& now) {
  uint32_t& nlink = record.attr.nlink;
  nlink = record.attr.type == FileType::kDirectory || nlink == 0 ? 0 : nlink - 1;
  TouchInode(record.attr, now);
  StoreInode(transaction, record);
  if (nlink == 0)
    transaction.Put(cow::MakeKey(cow::ItemType::kOrphan, record.attr.ino), std::string());
}

}  // namespace prism::fs
