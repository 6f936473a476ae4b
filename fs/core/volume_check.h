// Whether the items of one volume are a file system: every rule that the operations keep,
// recounted.
//
// Names and inodes agree in both directions, link counts, sizes and used bytes are what is there,
// flags say what exists, directories are a tree, unlinked files are known to be unlinked.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>

#include "cow/check_report.h"
#include "cow/key.h"
#include "fs/core/dir_cookie.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

// THREADS: one. Memory: some 200 bytes for each inode.
class VolumeCheck {
 public:
  // `name` is of the volume, for the report; bad_chunks are those whose content is lost.
  VolumeCheck(std::string name, const HashKeys& keys, const std::unordered_set<ChunkId>& bad_chunks,
              cow::CheckReport& report)
      : name_(std::move(name)), keys_(keys), bad_chunks_(bad_chunks), report_(report) {}

  // Every item, in the order of types, and of each inode's in the order of keys.
  void Add(cow::Key key, std::string_view value);
  // After the last.
  void Finish();

  // After Finish: what there is.
  uint64_t inodes() const { return inodes_; }
  uint64_t bytes() const { return bytes_; }
  InodeId last_ino() const { return last_ino_; }

 private:
  struct Seen {
    bool has_record = false;
    bool has_inline = false;
    bool has_symlink = false;
    bool is_orphan = false;
    bool reaches_root = false;
    FileType type = FileType::kRegular;
    uint32_t flags = 0;
    uint32_t nlink = 0;
    uint32_t xattr_name_bytes = 0;
    uint64_t size = 0;
    uint64_t used = 0;
    InodeId directory = 0;  // of a directory: where it is

    uint64_t names = 0;
    uint64_t entries = 0;
    uint64_t subdirectories = 0;
    uint64_t parents = 0;
    // Sums of hashes of (directory, cookie), so equal if both name the same places.
    uint64_t named_by = 0;
    uint64_t says_named_by = 0;
    uint64_t piece_bytes = 0;
    uint64_t end_block = 0;
    uint64_t inline_bytes = 0;
    uint64_t symlink_bytes = 0;
    uint32_t seen_xattr_name_bytes = 0;
    uint32_t seen_flags = 0;
  };

  template <typename... Args>
  void Say(InodeId ino, fmt::format_string<Args...> format, Args&&... args);

  void AddRecord(InodeId ino, std::string_view value);
  void AddEntry(cow::Key key, std::string_view value);
  void AddExtent(cow::Key key, std::string_view value);
  void AddXattr(InodeId ino, std::string_view value);
  void AddParent(InodeId ino, std::string_view value);
  void Check(InodeId ino, const Seen& seen);
  void CheckNames(InodeId ino, const Seen& seen);
  void CheckBody(InodeId ino, const Seen& seen);
  void CheckWayUp(InodeId ino);

  const std::string name_;
  const HashKeys keys_;
  const std::unordered_set<ChunkId>& bad_chunks_;
  cow::CheckReport& report_;
  std::unordered_map<InodeId, Seen> seen_;
  uint64_t inodes_ = 0;
  uint64_t bytes_ = 0;
  InodeId last_ino_ = 0;
};

}  // namespace prism::fs
