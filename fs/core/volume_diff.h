// Makes the differing items of two volumes into what has become of their files (fs/core/diff.h).
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "cow/volume_map.h"
#include "fs/contract/file_system.h"
#include "fs/core/diff.h"
#include "fs/core/inode_record.h"

namespace prism::fs {

// One of the two, which must not change: what it holds, and its files' bytes.
struct DiffSide {
  cow::VolumeMap& map;
  FileSystem& files;
};

// For one thread, once: Note for every item that differs, then Finish.
class VolumeDiff {
 public:
  VolumeDiff(const DiffSide& a, const DiffSide& b, const DiffOptions& options)
      : a_(a), b_(b), options_(options) {}

  // False: it is no use to go on, Finish will tell why.
  bool Note(cow::Key key, const std::string_view* a, const std::string_view* b);
  Result<DiffResult> Finish();

 private:
  struct Entry {
    InodeId dir = 0;
    uint64_t cookie = 0;
    InodeId ino = 0;
    FileType type = FileType::kRegular;
    std::string name;
    std::string path;
    bool paired = false;
  };
  // Of an inode of which something differs. Absent: there is no such inode on that side.
  struct Touched {
    bool inode_differs = false;
    std::optional<InodeRecord> a, b;
    bool body = false;
    bool xattrs = false;
    std::vector<uint64_t> blocks;  // that differ
  };
  struct Side {
    explicit Side(const DiffSide& side) : map(side.map), files(side.files) {}
    cow::VolumeMap& map;
    FileSystem& files;
    std::unordered_map<InodeId, std::string> paths;  // of directories, without a slash at the end
  };

  Status NoteItem(cow::Key key, const std::string_view* a, const std::string_view* b);
  static Result<std::string> PathOf(Side& side, const cow::ReadView& view, InodeId dir);
  Status FindPaths(Side& side, std::vector<Entry>& entries);
  Status LoadRecords();
  void PairByPath();
  void PairByInode();
  Status AddChangedInPlace();
  bool SameFile(InodeId ino) const;
  // What differs between two inodes; false: nothing.
  Result<bool> Compare(FileChange& change, InodeId ino_a, InodeId ino_b);
  Result<bool> CompareSame(FileChange& change, const Touched& touched, InodeId ino);
  Status CompareBytes(FileChange& change, InodeId ino_a, InodeId ino_b,
                      std::vector<uint64_t> blocks);
  Status Add(FileChange change);

  Side a_, b_;
  const DiffOptions options_;
  Status failed_;
  uint64_t items_ = 0;
  std::unordered_map<InodeId, Touched> touched_;
  std::vector<Entry> removed_, added_;
  std::vector<std::pair<size_t, size_t>> replaced_;  // removed_ and added_ of one path
  std::vector<std::pair<size_t, size_t>> renamed_;   // of one file
  DiffResult result_;
};

}  // namespace prism::fs
