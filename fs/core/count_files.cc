#include "fs/core/count_files.h"

#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "fs/core/dir_cookie.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

using cow::EndKey;
using cow::ItemType;
using cow::MakeKey;

Result<std::optional<cow::VolumeUsage>> CountFiles(const cow::ReadView& view,
                                                   const std::atomic<bool>& stop) {
  cow::VolumeUsage usage;
  std::vector<InodeId> left{kRootInode};  // directories that have been counted, not what is in them
  std::unordered_set<InodeId> linked;     // files of several names
  Status failed;
  auto count = [&](InodeId ino) -> Status {
    PRISM_ASSIGN(const InodeRecord record, LoadInodeEvenDying(view, ino));
    const bool directory = record.attr.type == FileType::kDirectory;
    if (!directory && record.attr.nlink > 1 && !linked.insert(ino).second) return {};
    ++usage.inodes;
    usage.bytes += record.stored_used;
    if (directory && ino != kRootInode && record.attr.nlink > 0) left.push_back(ino);
    return {};
  };
  PRISM_TRY(count(kRootInode));
  while (!left.empty()) {
    const InodeId dir = left.back();
    left.pop_back();
    PRISM_TRY(view.Scan(MakeKey(ItemType::kDirEntry, dir), EndKey(ItemType::kDirEntry, dir),
                        [&](cow::Key, std::string_view value) {
                          const auto entry = DecodeEntry(value);
                          failed = entry ? count(entry->ino) : Status(Fail(entry.error()));
                          return failed && !stop.load(std::memory_order_relaxed);
                        }));
    PRISM_TRY(failed);
    if (stop.load(std::memory_order_relaxed)) return std::nullopt;
  }
  PRISM_TRY(view.Scan(MakeKey(ItemType::kOrphan, 0), EndKey(ItemType::kOrphan, kInodeMax),
                      [&](cow::Key key, std::string_view) {
                        const Status counted = count(key.ino());
                        if (!counted && counted.error() != Err::kStale) failed = counted;
                        return failed.has_value();
                      }));
  PRISM_TRY(failed);
  return usage;
}

Result<cow::VolumeUsage> CountBelow(const cow::ReadView& view, InodeId dir) {
  struct Linked {
    uint64_t elsewhere = 0;  // names that have not been met
    uint64_t bytes = 0;
  };
  cow::VolumeUsage usage;
  std::unordered_map<InodeId, Linked> linked;  // files of several names
  std::vector<InodeId> left;
  auto count = [&](InodeId ino) -> Status {
    PRISM_ASSIGN(const InodeRecord record, LoadInode(view, ino));
    const bool directory = record.attr.type == FileType::kDirectory;
    if (directory) left.push_back(ino);
    if (!directory && record.attr.nlink > 1) {
      Linked& file = linked.try_emplace(ino, record.attr.nlink, record.stored_used).first->second;
      --file.elsewhere;
      return {};
    }
    ++usage.inodes;
    usage.bytes += record.stored_used;
    return {};
  };
  PRISM_TRY(count(dir));
  while (!left.empty()) {
    const InodeId next = left.back();
    left.pop_back();
    Status failed;
    PRISM_TRY(view.Scan(MakeKey(ItemType::kDirEntry, next), EndKey(ItemType::kDirEntry, next),
                        [&](cow::Key, std::string_view value) {
                          const auto entry = DecodeEntry(value);
                          failed = entry ? count(entry->ino) : Status(Fail(entry.error()));
                          return failed.has_value();
                        }));
    PRISM_TRY(failed);
  }
  for (const auto& [ino, file] : linked) {
    if (file.elsewhere > 0) continue;
    ++usage.inodes;
    usage.bytes += file.bytes;
  }
  return usage;
}

}  // namespace prism::fs
